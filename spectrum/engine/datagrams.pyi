from enum import IntEnum

from spectrum.engine.flow_keeper import FlowKeeper
from spectrum.engine.target import Target

class Drop(IntEnum):
    BAD_REPLY = 0
    TOO_BIG = 1
    TO_ORIGIN = 2
    TO_CLIENT = 3
    NO_FLOW = 4
    QUEUE_FULL = 5
    BAD_HEADER = 6
    UNTRUSTED = 7
    RATE = 8
    FRAGMENTED = 9
    OVERLOAD = 10
    ATTACK = 11

class Datagrams(FlowKeeper):
    def add_listener(self, fd: int, app: int, address: bytes, port: int) -> int: ...
    def set_app(
        self, app: int, group: int, told: bool = False, paces: tuple[int, ...] = ..., fragments: bool = True
    ) -> None: ...
    def drop_blocked(self, four: bytes, six: bytes, expires_ns: int) -> None: ...
    def measure(self, app: int, target: Target, header_bytes: int) -> None: ...
    def remove_listener(self, number: int, error: int) -> None: ...
    def take_counts(self) -> list[tuple[int, ...]]: ...
