"""Cells on Slurm."""
