"""Fixtures of several files."""

from tests.e2e.flood_lab import lab, learned
from tests.e2e.hosts import hosts, start
from tests.kernel.isolation import filesystem

__all__ = ["filesystem", "hosts", "lab", "learned", "start"]
