"""Split, merge and relocation moves of components."""
