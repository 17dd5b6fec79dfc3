from collections.abc import Callable, Collection, Container, Sequence
from enum import IntEnum
from typing import Protocol

from spectrum.engine.census import Census, Rates
from spectrum.engine.lookout import Lookout
from spectrum.engine.loop import Loop, Part
from spectrum.engine.plan import SessionPlan
from spectrum.engine.shared import Loads
from spectrum.engine.target import Target
from spectrum.engine.tls import Facts, OriginFacts

class Outcome(IntEnum):
    EOF_CLIENT = 1
    EOF_ORIGIN = 2
    ERROR_CLIENT = 3
    ERROR_ORIGIN = 4
    IDLE = 5
    CONNECT_FAILED = 6
    HEADER_TIMEOUT = 7
    REFUSED = 8
    CLIENT_LEFT = 9
    CLOSED = 10
    STUCK_CLIENT = 11
    STUCK_ORIGIN = 12
    NO_MEMORY = 13
    HANDSHAKE_FAILED = 14
    HANDSHAKE_TIMEOUT = 15
    TLS_ERROR_CLIENT = 16
    TLS_ERROR_ORIGIN = 17
    NO_WATCH = 18
    CONNECTED = 19
    PROGRESS = 20
    OVER_BUDGET = 21

# name of the session, listener, client address, client port, edge address, edge port
Accepted = tuple[int, int, bytes, int, bytes, int]
# listener, client address, how many in a row, whether a rule against an attack refused them
Gone = tuple[int, bytes, int, bool]
# listener, outcome, errno or the handler's number, client address, client port,
# origin (the last one tried if none was connected), accepted, connected (0 for never) and ended
# (monotonic ns), bytes from client, bytes from origin, client RTT, origin RTT (us), name, edge address, edge port,
# bytes from client and from origin since the last report of its progress (None if there was none).
# For an open session these are the values so far, with CONNECTED or PROGRESS.
Ended = tuple[
    int, int, int, bytes, int, Target | None, int, int, int, int, int, int, int, int, bytes, int, tuple[int, int] | None
]

# Sessions that had an origin and ended alike: listener, outcome, errno or the handler's number, origin, whether it sent
# anything, their number; by the bounds of `Sessions`, the buckets of connect times that are not empty (index and
# count) and the sum of these times (ns), and the same of durations
Summed = tuple[int, int, int, Target, bool, int, list[tuple[int, int]], int, list[tuple[int, int]], int]

# An open session or flow: name, listener, state, client address, client port, edge address, edge port, origin
# (None if none was dialled yet), age (ms), idle time (ms), bytes from client, bytes from origin
Seen = tuple[int, int, str, bytes, int, bytes, int, Target | None, int, int, int, int]

class Handler(Protocol):
    def accepted(self, batch: list[Accepted]) -> None: ...
    def begun(self, listener: int, count: int) -> None: ...
    def gone(self, batch: list[Gone]) -> None: ...
    def header(
        self,
        name: int,
        listener: int,
        data: bytes,
        client: bytes,
        client_port: int,
        edge: bytes,
        edge_port: int,
        last: bool,
    ) -> int: ...
    def turn_came(self, name: int) -> None: ...
    def secured(self, name: int, facts: Facts) -> None: ...
    def origin_secured(self, name: int, facts: OriginFacts) -> None: ...
    def insecure(self, name: int, side: int, reason: str) -> None: ...
    def attempt_failed(self, name: int, listener: int, target: Target, error: int) -> None: ...
    def exhausted(
        self, name: int, listener: int, target: Target, client: bytes, client_port: int
    ) -> tuple[Target, ...]: ...
    def told(self, batch: list[Ended]) -> None: ...
    def ended(self, batch: list[Ended]) -> None: ...
    def summed(self, batch: list[Summed]) -> None: ...
    def recorded(self, count: int, records: bytes) -> None: ...
    def broken(self, error: Exception) -> None: ...

class Sessions(Part):
    max_sessions: int
    max_held_bytes: int
    recorded: bool
    records_per_s: int
    tells_connects: bool
    progress_ms: int
    place_of: Callable[[bytes], tuple[str, int]] | None
    def __init__(
        self,
        loop: Loop,
        handler: Handler,
        *,
        max_sessions: int = ...,
        loads: Loads | None = None,
        census: Census | None = None,
        rates: Rates | None = None,
        lookout: Lookout | None = None,
        max_held_bytes: int = ...,
        bounds: tuple[Sequence[float], Sequence[float]] = ...,
    ) -> None: ...
    def add_listener(self, fd: int, app: int, address: bytes, port: int) -> int: ...
    def set_app(
        self,
        app: int,
        group: int,
        bytes_per_s: int = 0,
        patience_ms: int = 0,
        app_bytes_per_s: int = 0,
        client_bytes_per_s: int = 0,
        prefix_bytes_per_s: int = 0,
        told: bool = False,
    ) -> None: ...
    def remove_listener(self, number: int, drain: bool = True) -> None: ...
    def sessions(self, *, listener: int | None = None, targets: Container[Target] | None = None) -> list[int]: ...
    def look(self, first: int, count: int) -> tuple[list[Seen], int]: ...
    def blocked(self, first: int, count: int) -> tuple[list[int], int]: ...
    def set_plan(self, number: int, plan: SessionPlan) -> None: ...
    def drop_plans(self, listeners: Collection[int] | None = None) -> None: ...
    def tell_sums(self) -> None: ...
    def take_left_out(self) -> list[tuple[int, int]]: ...
    def report_singly(self, name: int) -> None: ...
    def close(self, name: int, error: int, reset: bool = False) -> None: ...
    def close_sessions(self, error: int, listeners: set[int] | None = None) -> None: ...
    @property
    def active(self) -> int: ...
    @property
    def stalled(self) -> bool: ...
    @property
    def held_bytes(self) -> int: ...
    @property
    def stalls(self) -> int: ...
