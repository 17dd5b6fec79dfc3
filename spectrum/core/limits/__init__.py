"""Limits of apps, clients and the node, for open sessions and rates."""
