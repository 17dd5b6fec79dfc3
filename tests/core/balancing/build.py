"""Pools and load balancers for tests, in few words."""

from spectrum.control.configuration.loader import load_text
from spectrum.core.balancing.balancer import Balancer
from spectrum.core.balancing.pools import PoolView, Standing
from spectrum.core.features import compile_snapshot

UP, DOWN = Standing(True), Standing(False)


class Counts:
    """Loads of a test, by number."""

    def __init__(self, counts=None):
        self.counts = counts if counts is not None else {}

    def open(self, number):
        return self.counts.get(number, 0)

    waiting = open


nobody = Counts()


class World:
    """What a file says of pools and load balancers, and the health of origins, by "pool/origin"."""

    def __init__(self, text):
        # The app is there because a file needs one.
        self.snapshot = compile_snapshot(load_text(text + "\napps: {x: {protocol: tcp/1, load_balancer: lb}}", "f"), 1)
        self.standings = {}
        self.latencies = {}
        self.draining = set()
        self.now = 1000.0

    def origin(self, name):
        pool, origin = name.split("/")
        settings = next(p for p in self.snapshot.pools if p.name == pool)
        return next(o for o in settings.origins if o.name == origin)

    def number(self, name):
        if "/" not in name:
            return next(p.number for p in self.snapshot.pools if p.name == name)
        return self.origin(name).number

    def set(self, standing, *names):
        for name in names:
            self.standings[self.number(name)] = standing

    def views(self):
        return {pool.name: PoolView(pool, self.standings, self.now) for pool in self.snapshot.pools}

    def balancer(self, name="lb"):
        settings = next(b for b in self.snapshot.balancers if b.name == name)
        return Balancer(settings, self.views(), self.latencies, {self.number(n) for n in self.draining})

    def name_of(self, origin):
        if origin is None:
            return None
        return next(f"{pool.name}/{o.name}" for pool in self.snapshot.pools for o in pool.origins if o is origin)


def origins(**weights):
    """`a=1, b=0.5` as the YAML of a pool's origins, none of which is one of ours."""
    entries = (
        f"{{name: {n}, address: 203.0.113.{i + 1}, port: 80, weight: {w}}}" for i, (n, w) in enumerate(weights.items())
    )
    return f"[{', '.join(entries)}]"
