"""Checks of a method of one's own."""
