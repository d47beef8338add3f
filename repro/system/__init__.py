"""Files, digests, random numbers, locks, signals, progress and errors."""
