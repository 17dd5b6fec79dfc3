"""Certificates and ticket keys, as files give them to workers."""
