"""Stores of analytics: embedded, or on a server."""
