"""Stores the objects of the API: a folder with one writer, and read-only connections beside it."""
