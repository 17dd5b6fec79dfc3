"""Probes of origins: one file for each protocol, and the schedule."""
