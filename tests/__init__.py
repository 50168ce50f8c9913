"""A package, so that `tests.oracle` is this one whatever else is installed.

The benchmarks check their answers with it, and some packages bring a `tests` of their own.
"""
