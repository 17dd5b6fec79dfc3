"""Cloudflare's form of each kind of object, from and to values of the file: pure functions."""
