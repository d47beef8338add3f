"""The speed of each unit of work, compared with plain PyTorch."""
