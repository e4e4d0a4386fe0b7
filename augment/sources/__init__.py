"""Where clean images come from: one source a file."""
