"""Row filters, transforms and missing values, applied chunk by chunk."""
