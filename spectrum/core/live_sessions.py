"""The open sessions and flows of a node: how they are told of, and which of them an operator asks for."""

from collections.abc import Callable, Iterable
from heapq import nsmallest
from ipaddress import ip_network
from typing import Any

import msgspec

from spectrum.core.prefixes import PrefixSet


class LiveSession(msgspec.Struct, array_like=True, frozen=True):
    """A session or flow that is open.

    Attributes:
        transport: "tcp" or "udp".
        name: The number that its worker knows it by.
        app: The app's name.
        state: What it does, as the engine says.
        client, client_port: Who it is from.
        edge, edge_port: What the client wrote to.
        origin, origin_port: Where it leads, or was led last; "" and 0 before.
        origin_number: That of the origin, where it is a load balancer's; else 0.
        age_ms: How long ago it began.
        idle_ms: How long ago anything was moved.
        from_client, from_origin: Bytes.
    """

    transport: str
    name: int
    app: str
    state: str
    client: bytes
    client_port: int
    edge: bytes
    edge_port: int
    origin: str
    origin_port: int
    origin_number: int
    age_ms: int
    idle_ms: int
    from_client: int
    from_origin: int


# By what sessions are ordered: the first ones are what one looks for.
ORDERS: dict[str, Callable[[LiveSession], Any]] = {
    "age": lambda one: -one.age_ms,
    "bytes": lambda one: -(one.from_client + one.from_origin),
    "idle": lambda one: -one.idle_ms,
    "app": lambda one: (one.app, -one.age_ms),
    "client": lambda one: (len(one.client), one.client, one.client_port),
}


class Selection(msgspec.Struct, array_like=True, frozen=True):
    """Which sessions are asked for: those that have all that is set here.

    Attributes:
        apps: They are of one of these apps.
        client: Their client is in this prefix.
        origins: They lead to one of these addresses, with a port (`192.0.2.1:22`, `[2001:db8::1]:22`) or without.
        numbers: Or to one of these origins of load balancers.
        min_age_ms: They are as old at least.
        min_bytes: And have moved as much, both ways together.
        names: They are these, by transport.
    """

    apps: tuple[str, ...] = ()
    client: str = ""
    origins: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    min_age_ms: int = 0
    min_bytes: int = 0
    names: dict[str, tuple[int, ...]] | None = None

    def matcher(self) -> Callable[[LiveSession], bool]:
        """Return what tells whether a session is one of these.

        Raises:
            ValueError: If `client` is no prefix.
        """
        tests: list[Callable[[LiveSession], bool]] = []
        if self.names is not None:
            names = {transport: frozenset(of) for transport, of in self.names.items()}
            tests.append(lambda one: one.name in names.get(one.transport, ()))
        if self.apps:
            apps = frozenset(self.apps)
            tests.append(lambda one: one.app in apps)
        if self.min_age_ms:
            tests.append(lambda one: one.age_ms >= self.min_age_ms)
        if self.min_bytes:
            tests.append(lambda one: one.from_client + one.from_origin >= self.min_bytes)
        if self.client:
            prefixes = PrefixSet([ip_network(self.client)])
            tests.append(lambda one: one.client in prefixes)
        if self.origins or self.numbers:
            origins, numbers = frozenset(self.origins), frozenset(self.numbers)
            tests.append(
                lambda one: (
                    one.origin_number in numbers
                    or one.origin in origins
                    or address_port(one.origin, one.origin_port) in origins
                )
            )
        return lambda one: all(test(one) for test in tests)

    @property
    def is_all(self) -> bool:
        """Whether nothing is set."""
        return self == Selection()


def address_port(host: str, port: int) -> str:
    """Return an address as records and metrics write it; "" where there is none."""
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class First:
    """Keeps the first ones, by an order, of many sessions.

    Args:
        order: One of `ORDERS`.
        limit: So many.

    Attributes:
        total: How many there were.
    """

    def __init__(self, order: str, limit: int) -> None:
        self._key = ORDERS[order]
        self._limit = limit
        self._kept: list[LiveSession] = []
        self.total = 0

    def add(self, sessions: Iterable[LiveSession]) -> None:
        """Take more of them."""
        before = len(self._kept)
        self._kept.extend(sessions)
        self.total += len(self._kept) - before
        if len(self._kept) > 2 * self._limit:
            self._kept = self.sorted()

    def sorted(self) -> list[LiveSession]:
        """Return the first ones, in order."""
        return nsmallest(self._limit, self._kept, self._key)
