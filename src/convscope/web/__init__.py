"""What is looked at live in a browser: the server with its guard, and the two sites that it shows."""
