"""Runs: presets, settings, the folder of each stage, the pipeline, and a finished run opened."""
