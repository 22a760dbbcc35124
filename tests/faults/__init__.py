"""Faults made on purpose: kills, failing disks, damaged files, lost processes; what came of them is counted."""
