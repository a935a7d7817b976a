"""The rule language, its engine and the anomaly detectors."""
