from collections.abc import Collection, Sequence

from spectrum.engine.census import Rates
from spectrum.engine.shared import Affinities

KNOWN_SOURCES: int

class Lookout:
    on: bool
    rule_count: int
    def __init__(self, rates: Rates | None = None) -> None: ...
    @staticmethod
    def bytes_size() -> int: ...
    def attach(self, memory: int, known: Affinities) -> None: ...
    def watch(self, idle_one_in: int, used_one_in: int) -> None: ...
    def set_rules(
        self, rules: Sequence[tuple[bytes, Sequence[bytes]]], guard: Sequence[tuple[bytes, bytes]] = ()
    ) -> None: ...
    def thin(self, places: Collection[int], one_in: int) -> None: ...
    def thin_datagrams(self, places: Collection[int], one_in: int) -> None: ...
    def refuses(
        self,
        source: bytes,
        from_port: int,
        destination: bytes,
        to_port: int,
        protocol: int,
        payload: bytes = b"",
        flow: int = 0,
        now_ns: int = 0,
        is_due: bool = False,
    ) -> bool: ...
