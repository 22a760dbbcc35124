"""What channels have to do with one another, and with the classes."""
