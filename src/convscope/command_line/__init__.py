"""What a terminal takes and shows: flags, settings, the work of each command, and how it ends."""
