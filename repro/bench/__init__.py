"""How fast the work of the table is, against plain PyTorch."""
