"""Datasets: from files to uint8 images, labels, class names and statistics."""
