"""Arrays in and out: any array to rows the engine reads, and results of the caller's kind."""
