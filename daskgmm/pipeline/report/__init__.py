"""The report that a run writes: a page of HTML with its figures."""
