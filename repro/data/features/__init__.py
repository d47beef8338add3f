"""Frozen features: arrays in the cache, and files that others made."""
