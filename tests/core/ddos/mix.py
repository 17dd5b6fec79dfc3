"""A profile of normal traffic that tests share; it takes a second to learn."""

from functools import cache

from benchmarks.ddos.normal import World, normal
from spectrum.core.ddos.profile import Profile

ONE_IN = 100


@cache
def learned():
    """Return a world of clients, and the profile of 10 s of it."""
    world, profile = World(1), Profile(1)
    for _ in range(40):
        profile.learn(normal(world, 0.25, ONE_IN), 0.25)
    return world, profile
