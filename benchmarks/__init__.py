"""Benchmarks of gtn_label against other ways to the same pairs: ``python -m benchmarks --help``."""
