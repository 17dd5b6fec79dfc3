"""Fixtures of several files."""

from tests.kernel.isolation import filesystem

__all__ = ["filesystem"]
