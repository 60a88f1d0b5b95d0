"""Sources of rows, passes over them, and writers of results."""
