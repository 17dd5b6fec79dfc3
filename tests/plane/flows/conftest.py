"""Planes and origins of UDP for the tests beside it."""

from tests.plane.udp_parts import make, origin

__all__ = ["make", "origin"]
