"""The report of a fit, as one HTML page."""
