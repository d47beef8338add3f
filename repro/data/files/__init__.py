"""Archives, pickles, image files and downloads, read without running anything."""
