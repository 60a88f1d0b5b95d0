"""Where rows come from, how a pass visits them, and where results go."""
