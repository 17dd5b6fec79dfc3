"""Certificates and session ticket keys for workers."""
