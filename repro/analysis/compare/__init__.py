"""Methods compared on the same episodes."""
