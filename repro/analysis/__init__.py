"""Tables, checks and figures from records; nothing here needs torch."""
