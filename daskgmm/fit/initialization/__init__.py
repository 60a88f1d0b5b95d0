"""Initialization: the first parameters of a fit."""
