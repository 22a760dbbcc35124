"""What people look at: the charts and the report. Only shows what the rest computes."""
