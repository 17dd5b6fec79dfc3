"""Cloudflare's shapes of each kind of object, from and to the file's values: pure functions."""
