"""The command line and its parts: configuration, clusters, fits, scores, reports."""
