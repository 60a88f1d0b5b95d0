"""Writers of rows and scores."""
