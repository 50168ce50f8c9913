"""Pictures and the page that reports a run."""
