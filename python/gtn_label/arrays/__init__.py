"""Arrays: from any kind to rows that the engine reads, and back to the caller's kind."""
