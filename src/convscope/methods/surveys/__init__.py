"""What every channel does over a whole dataset, counted in one pass and kept."""
