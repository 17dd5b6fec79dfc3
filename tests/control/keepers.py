"""A `HealthKeeper` with real probes of servers on this machine."""

import asyncio
import socket

from spectrum.control.balancing.health import HealthKeeper
from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot, number_labels
from spectrum.core.numbers import Numbers


class Keeper:
    """Keeps what it tells and records."""

    def __init__(self):
        self.standings, self.latencies, self.events, self.readdressed = {}, {}, [], []
        self.numbers = Numbers(1000)
        self.health = HealthKeeper(self._tell, self.events.append, self.readdressed.append)

    def _tell(self, standings, latencies):
        self.standings |= standings
        self.latencies |= latencies

    def apply(self, text, addresses=None):
        config = load_text(text, "f")
        planned = self.numbers.plan(number_labels(config))
        self.numbers.keep(planned)
        self.config, self.snapshot = config, compile_snapshot(config, 1, planned)
        self.health.apply(config, self.snapshot, addresses or {})

    def number(self, name):
        pool, origin = name.split("/")
        return next(o.number for p in self.snapshot.pools if p.name == pool for o in p.origins if o.name == origin)

    def usable(self, name):
        standing = self.standings.get(self.number(name))
        return standing and standing.usable

    def said(self):
        return [(event.Event, event.Pool, event.Origin, event.Healthy) for event in self.events]


async def until(condition, timeout_s=10):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Origin:
    """A TCP origin that can be closed and opened again on its port."""

    def __init__(self, address="127.0.0.1"):
        self._sock = self._bound(address, 0)
        self.address, self.port = self._sock.getsockname()
        self.open()

    @staticmethod
    def _bound(address, port):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        return sock

    def open(self):
        if self._sock is None:
            self._sock = self._bound(self.address, self.port)
        self._sock.listen(128)

    def close(self):
        if self._sock is not None:
            self._sock.close()
            self._sock = None
