"""Keeps the objects that the API made: one folder, one writer, and read-only connections beside it."""
