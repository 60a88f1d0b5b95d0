"""People and machine rooms: configuration, clusters, runs, reports, the command line."""
