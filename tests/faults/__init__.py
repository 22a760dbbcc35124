"""Faults made on purpose: kills, failing disks, damaged files, lost processes; each function counts what came of them."""
