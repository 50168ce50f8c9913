"""Backends: their names, the devices they compute on, and the engine made for each."""
