"""Fixtures of several files."""

from tests.engine.live import leaves_nothing
from tests.plane.tcp_parts import make, origin

__all__ = ["leaves_nothing", "make", "origin"]
