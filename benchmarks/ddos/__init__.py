"""A mix of normal traffic, crowds and floods, and the score of detection on it: `python -m benchmarks ddos`."""
