"""A profile of normal traffic that tests share; it takes a second to learn."""

from copy import deepcopy
from functools import cache

from spectrum.core.ddos.profile import Profile
from spectrum.simulation.normal import World, normal

ONE_IN = 100


def learned():
    """Return a world of clients, and the profile of 10 s of it; each test has the same."""
    return deepcopy(_learned())


@cache
def _learned():
    world, profile = World(1), Profile(1)
    for look in range(40):
        profile.learn(normal(world, 0.25, ONE_IN), 0.25, 0.25 * look)
    return world, profile
