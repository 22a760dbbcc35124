"""What is read without a server: the report, the comparison, the charts and the notebook's curves."""
