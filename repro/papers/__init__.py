"""A paper as data: its table and constants, recipes and budgets, and the catalogue of methods."""
