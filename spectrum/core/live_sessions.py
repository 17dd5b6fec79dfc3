"""The open sessions and flows of a node: their representation, and the selection by operators."""

from collections.abc import Callable, Iterable
from heapq import nsmallest
from ipaddress import ip_network
from typing import Any

import msgspec

from spectrum.core.prefixes import PrefixSet


class LiveSession(msgspec.Struct, array_like=True, frozen=True):
    """An open session or flow.

    Attributes:
        transport: "tcp" or "udp".
        name: Its number in its worker.
        app: The app's name.
        state: Its state in the engine.
        client, client_port: The client.
        edge, edge_port: The address and port that the client connected to.
        origin, origin_port: The origin, or the last one tried; "" and 0 before.
        origin_number: The number of a load balancer's origin; otherwise 0.
        age_ms: Its age.
        idle_ms: Time since the last data.
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


# Sort orders; the most interesting sessions come first.
ORDERS: dict[str, Callable[[LiveSession], Any]] = {
    "age": lambda one: -one.age_ms,
    "bytes": lambda one: -(one.from_client + one.from_origin),
    "idle": lambda one: -one.idle_ms,
    "app": lambda one: (one.app, -one.age_ms),
    "client": lambda one: (len(one.client), one.client, one.client_port),
}


class Selection(msgspec.Struct, array_like=True, frozen=True):
    """A selection of sessions: those that meet all conditions that are set.

    Attributes:
        apps: One of these apps.
        client: The client is in this prefix.
        origins: The origin has one of these addresses, with a port (`192.0.2.1:22`, `[2001:db8::1]:22`) or without.
        numbers: Or it is one of these origins of load balancers.
        min_age_ms: The minimum age.
        min_bytes: The minimum of bytes in both directions together.
        names: These sessions, by transport.
    """

    apps: tuple[str, ...] = ()
    client: str = ""
    origins: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    min_age_ms: int = 0
    min_bytes: int = 0
    names: dict[str, tuple[int, ...]] | None = None

    def matcher(self) -> Callable[[LiveSession], bool]:
        """Return a function that tests whether a session is selected.

        Raises:
            ValueError: If `client` is not a prefix.
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
    """Return an address in the form of records and metrics; "" without one."""
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class FirstSessions:
    """Keeps the first ones, by an order, of many sessions.

    Args:
        order: One of `ORDERS`.
        limit: The number of sessions kept.

    Attributes:
        total: The total number.
    """

    def __init__(self, order: str, limit: int) -> None:
        self._key = ORDERS[order]
        self._limit = limit
        self._kept: list[LiveSession] = []
        self.total = 0

    def add(self, sessions: Iterable[LiveSession]) -> None:
        """Add sessions."""
        before = len(self._kept)
        self._kept.extend(sessions)
        self.total += len(self._kept) - before
        if len(self._kept) > 2 * self._limit:
            self._kept = self.sorted()

    def sorted(self) -> list[LiveSession]:
        """Return the first ones, in order."""
        return nsmallest(self._limit, self._kept, self._key)
