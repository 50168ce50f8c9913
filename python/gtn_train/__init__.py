"""Train generators on pairs: autoencoder, generator ĥ, samples, interpolations and evaluation.

The layer around `gtn_label`: plain PyTorch, one module a topic, nothing of it needed to match.
Importing this package imports none of its modules, and so not torch: each is imported by who
uses it, as `from gtn_train import pairs` or `from gtn_train.models.generator import Generator`.
"""
