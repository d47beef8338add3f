"""What each switch of a recipe changes."""
