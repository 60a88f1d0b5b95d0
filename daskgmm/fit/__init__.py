"""Fits of mixtures: initialization, EM, acceleration, split and merge moves, checkpoints."""
