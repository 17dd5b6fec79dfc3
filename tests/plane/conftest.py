"""Fixtures of several files."""

from tests.engine.live import leaves_nothing

__all__ = ["leaves_nothing"]
