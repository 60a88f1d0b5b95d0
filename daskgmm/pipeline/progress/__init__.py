"""Output while a run computes: lines per pass, a live display, a JSON log."""
