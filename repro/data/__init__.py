"""Data sets: files on disk to a memory-mapped pack of uint8 images."""
