"""Pair files: their layout, and the writing, reading and drawing of them."""
