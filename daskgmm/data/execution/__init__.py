"""How a pass runs: shards, local schedulers, clusters, retries."""
