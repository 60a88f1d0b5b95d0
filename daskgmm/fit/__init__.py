"""Iteration: starts, states, the loop, and when it ends."""
