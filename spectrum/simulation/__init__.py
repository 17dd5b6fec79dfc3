"""Simulated traffic and floods, as samples and as packets that are sent: for trials, benchmarks and tests."""
