"""The command line and what it runs: configuration, clusters, fits, scores, reports."""
