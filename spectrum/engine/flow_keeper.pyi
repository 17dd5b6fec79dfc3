from collections.abc import Container
from enum import IntEnum
from typing import Protocol

from spectrum.engine.census import Census, Rates
from spectrum.engine.lookout import Lookout
from spectrum.engine.loop import Loop, Part
from spectrum.engine.offload import Offload
from spectrum.engine.sessions import Seen
from spectrum.engine.shared import Loads
from spectrum.engine.target import Target

ENDED_FLOWS: int

class Mode(IntEnum):
    PLAIN = 0
    FIRST = 1
    STANDALONE = 2
    EACH = 3
    SIMPLE = 4
    LENIENT = 5

class FlowOutcome(IntEnum):
    FLOW_IDLE = 1
    FLOW_EVICTED = 2
    FLOW_ORIGIN_ERROR = 3
    FLOW_CONNECT_FAILED = 4
    FLOW_REFUSED = 5
    FLOW_CLOSED = 6
    FLOW_CONNECTED = 7
    FLOW_PROGRESS = 8

# name of the flow, listener, client address, client port, edge address, edge port, the proxy that told of them
NewFlow = tuple[int, int, bytes, int, bytes, int, bytes | None]
# listener, outcome, errno or the handler's number, client address, client port, origin,
# created, first replied to and ended (monotonic ns), bytes from client and from origin, datagrams likewise, name,
# edge address, edge port, since the last report of its progress bytes from client and from origin, and datagrams
# likewise (None if there was none).
# For an open flow these are the values so far, with FLOW_CONNECTED or FLOW_PROGRESS.
EndedFlow = tuple[
    int,
    int,
    int,
    bytes,
    int,
    Target | None,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    int,
    bytes,
    int,
    tuple[int, int, int, int] | None,
]
# name, our address, our port, origin, origin port
RecoveredFlow = tuple[int, bytes, int, bytes, int]

class FlowHandler(Protocol):
    def accepted(self, batch: list[NewFlow]) -> None: ...
    def trusts(self, listener: int, peer: bytes) -> bool: ...
    def attempt_failed(self, listener: int, target: Target, error: int) -> None: ...
    def exhausted(
        self, name: int, listener: int, target: Target, client: bytes, client_port: int
    ) -> tuple[Target, ...]: ...
    def origin_failed(self, name: int, listener: int, target: Target, error: int, replied: bool) -> None: ...
    def channel_failed(self, listener: int, target: Target, error: int) -> None: ...
    def too_big(
        self, listener: int, client: bytes, client_port: int, edge: bytes, edge_port: int, payload_bytes: int
    ) -> None: ...
    def told(self, batch: list[EndedFlow]) -> None: ...
    def ended(self, batch: list[EndedFlow]) -> None: ...
    def broken(self, error: Exception) -> None: ...

class FlowKeeper(Part):
    max_sockets: int
    tells_connects: bool
    progress_ms: int
    def __init__(
        self,
        loop: Loop,
        handler: FlowHandler,
        memory: int,
        *,
        max_flows: int = 1000,
        max_sockets: int = ...,
        loads: Loads | None = None,
        census: Census | None = None,
        rates: Rates | None = None,
        lookout: Lookout | None = None,
    ) -> None: ...
    def set_offload(self, offload: Offload | None) -> None: ...
    def open(
        self,
        name: int,
        targets: tuple[Target, ...],
        mode: int,
        header: bytes,
        idle_timeout_ms: int,
        shared: bool = False,
        tries: int = 1,
    ) -> None: ...
    def adapt(self, name: int, mode: int, header: bytes, idle_timeout_ms: int, shared: bool = False) -> bool: ...
    def refuse(self, name: int, error: int) -> None: ...
    def move(self, name: int, targets: tuple[Target, ...]) -> None: ...
    def close(self, name: int, error: int) -> None: ...
    def flows(self, *, listener: int | None = None, targets: Container[Target] | None = None) -> list[int]: ...
    def look(self, first: int, count: int) -> tuple[list[Seen], int]: ...
    def flow(self, name: int) -> tuple[int, Target, int] | None: ...
    def ends_of(self, name: int) -> tuple[bytes, int, bytes, int, bytes | None] | None: ...
    def client_of(self, name: int) -> tuple[bytes, int]: ...
    def peer_port(self, name: int) -> int: ...
    def close_flows(self, error: int, idle_ms: int = 0) -> None: ...
    def release(self) -> list[tuple[int, int]]: ...
    def inherit(self, sockets: dict[int, int]) -> None: ...
    def drain(self) -> None: ...
    def recovered(self) -> list[RecoveredFlow]: ...
    def adopt(self, name: int, listener: int, target: Target) -> None: ...
    def discard(self, name: int) -> None: ...
    def take_short_queues(self) -> list[int]: ...
    @property
    def active(self) -> int: ...
    @property
    def offloaded(self) -> int: ...
    @property
    def evicted(self) -> int: ...
    @property
    def sockets(self) -> int: ...
