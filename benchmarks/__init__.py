"""Measurements against real peers, in the same run, with the same features on. Nothing here is a test."""
