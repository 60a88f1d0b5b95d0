"""The fit of mixtures: initialization, EM, acceleration, moves and checkpoints."""
