"""What is looked at live in a browser: the server, and the dashboard that watches trainings."""
