"""Samples of a generator, and interpolations."""
