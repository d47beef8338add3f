"""Table 1: cells, verdicts, notes and formats."""
