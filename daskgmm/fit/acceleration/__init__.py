"""Accelerated EM steps."""
