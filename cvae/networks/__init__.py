"""Networks of conditional VAEs, each for one kind of change."""
