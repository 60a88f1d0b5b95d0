"""What a mixture is: its covariances, statistics, densities and likelihood."""
