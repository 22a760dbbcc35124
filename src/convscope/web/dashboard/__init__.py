"""The dashboard: the runs of a folder, watched live in the browser."""
