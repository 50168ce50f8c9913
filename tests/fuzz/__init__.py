"""Fuzzers of every file reader: python -m tests.fuzz --help. Each target is in targets.py."""
