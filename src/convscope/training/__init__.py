"""Training: a recipe and a dataset in, events and a run folder out."""
