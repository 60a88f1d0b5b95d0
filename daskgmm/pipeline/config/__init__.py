"""Configuration files and command-line options."""
