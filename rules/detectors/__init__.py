"""Anomaly detectors; the file name is the kind."""
