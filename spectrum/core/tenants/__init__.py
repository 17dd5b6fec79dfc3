"""Accounts and zones: who owns an object where several share an edge, and what a token may."""
