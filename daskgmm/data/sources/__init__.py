"""File formats that rows are read from."""
