"""Intervals, paired differences, seeds and power; nothing here knows a record."""
