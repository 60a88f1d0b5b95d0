"""What a run shows while it goes: lines, a live display, a JSON log."""
