"""Messages of a takeover: between a supervisor and a worker that may be of another version.

They are frozen: tests compare their bytes. Fields may be added at the end, with a default; receivers ignore unknown
fields and messages.
"""

from collections.abc import Iterator

import msgspec

from spectrum.core.live_sessions import LiveSession, Selection
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.snapshot import ListenerKey

# Bytes of names and addresses in one packet; a single name may exceed it, by as many as an answer over TCP holds.
NAMES_BYTES = 48 * 1024
# Sessions in a packet. Each takes some 150 bytes, with the longest names 400.
SESSIONS_PER_PACKET = 200


class Take(msgspec.Struct, array_like=True, tag=True):
    """To a worker whose supervisor has ended, from a new one. It answers with `Sockets` and `TakenOver`."""


class TakenOver(msgspec.Struct, array_like=True, tag="Veteran"):
    """From a worker in a takeover: its identity. With the descriptor of its flows, unless it released them before."""

    number: int
    pid: int


class Sockets(msgspec.Struct, array_like=True, tag=True):
    """To a worker, with as many descriptors: listening sockets for the next `Configure`."""

    keys: list[ListenerKey]


class Names(msgspec.Struct, array_like=True, tag=True):
    """To a worker, or in a takeover from it: the addresses that names have, by `core.names.name_key`."""

    addresses: dict[str, tuple[str, ...]]

    @classmethod
    def packets(cls, addresses: dict[str, tuple[str, ...]]) -> "Iterator[Names]":
        """Yield the messages, as many as needed."""
        part: dict[str, tuple[str, ...]] = {}
        size = 0
        for name, known in addresses.items():
            # Each text has up to three bytes before it (the MessagePack specification, str format family).
            own = len(name.encode()) + sum(len(address) + 3 for address in known) + 8
            if part and size + own > NAMES_BYTES:
                yield cls(part)
                part, size = {}, 0
            part[name] = known
            size += own
        if part:
            yield cls(part)


class Release(msgspec.Struct, array_like=True, tag=True):
    """To a worker in a takeover: leave listeners and flows to its replacement.

    With a descriptor: the sockets of flows are sent through that socket. Its TCP sessions may continue for some
    seconds, 0 for no limit.
    """

    timeout_s: float


class Released(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it has left listeners and flows."""


class Drain(msgspec.Struct, array_like=True, tag=True):
    """To a worker: stop accepting, let sessions end for some seconds, then exit."""

    timeout_s: float


class Measures(msgspec.Struct, array_like=True, tag=True):
    """From a worker: what it counted since the last report. `last` ends the answer to ask `number` (0: not asked)."""

    number: int
    last: bool
    apps: dict[str, AppMeasures]
    worker: WorkerMeasures
    sessions: int
    stalled: bool
    held_bytes: int = 0
    offloaded: int = 0
    # Listeners that the kernel refuses to watch.
    deaf: int = 0


class Events(msgspec.Struct, array_like=True, tag=True):
    """From a worker: ended sessions, one JSON object per line.

    `source` identifies the worker uniquely; `first` is the number of the first record, counted from 1. Earlier
    versions send neither. They are sent `again` if the former supervisor received them, and did not confirm with
    `RecordsKept`. Some may be sums of refusals, unless the worker reports that it has none (`has_sums`).
    """

    count: int
    lines: bytes
    source: str = ""
    first: int = 0
    again: bool = False
    has_sums: bool = True


class RecordsKept(msgspec.Struct, array_like=True, tag="Kept"):
    """To a worker that sends the `source` of its records: the journal has those with numbers below this one."""

    end: int


class FindSessions(msgspec.Struct, array_like=True, tag="Find"):
    """To a worker: find open sessions and flows of a selection, or end them. It answers with `FoundSessions`.

    `number` identifies the answer. The first ones by `order` are reported, at most `limit`; an unknown order means
    "age". If it `ends` them, the reason is `killed`.
    """

    number: int
    selection: Selection
    order: str
    limit: int
    ends: bool = False


class FoundSessions(msgspec.Struct, array_like=True, tag="Found"):
    """From a worker: a part of the answer to `FindSessions`, in order; the last part has the total number."""

    number: int
    sessions: list[LiveSession]
    total: int
    last: bool

    @classmethod
    def packets(cls, number: int, sessions: list[LiveSession], total: int) -> "Iterator[FoundSessions]":
        """Yield the messages, as many as needed; at least one."""
        for first in range(0, max(1, len(sessions)), SESSIONS_PER_PACKET):
            end = first + SESSIONS_PER_PACKET
            yield cls(number, sessions[first:end], total, end >= len(sessions))


CrossingMessage = (
    Take
    | TakenOver
    | Sockets
    | Names
    | Release
    | Released
    | Drain
    | Measures
    | Events
    | RecordsKept
    | FindSessions
    | FoundSessions
)
