"""Accounts and zones: ownership of objects if several tenants share an edge, and permissions of tokens."""
