"""Attacks, and the detection of them: what the supervisor has of it."""
