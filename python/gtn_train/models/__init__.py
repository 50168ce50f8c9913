"""Networks, and the registry that makes, saves and loads them by kind."""
