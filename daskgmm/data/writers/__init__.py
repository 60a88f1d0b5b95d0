"""Files that rows and scores are written to."""
