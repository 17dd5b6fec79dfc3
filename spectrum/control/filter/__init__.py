"""Drops before the network stack: the node's programs, and samples of incoming packets."""
