"""Images drawn by gradient: what is climbed, how, from where, and where what was drawn is kept."""
