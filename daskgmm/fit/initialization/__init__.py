"""First parameters of a fit."""
