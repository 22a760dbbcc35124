"""What is lost without some channels, or without some pixels."""
