"""Files: latents read, pairs written and read, checkpoints of long runs, atomic writes."""
