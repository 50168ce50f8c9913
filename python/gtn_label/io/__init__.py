"""Files: arrays and pairs, their formats, checkpoints, and atomic writes."""
