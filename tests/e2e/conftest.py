"""Fixtures of several files."""

from tests.e2e.hosts import hosts, start

__all__ = ["hosts", "start"]
