"""Messages between a supervisor and a worker that may be of another version: the worker is taken over, and relieved.

They are frozen: tests hold their bytes. A field may be added at the end, with a default; a receiver that does not know
it ignores it. A message that a receiver does not know is passed over.
"""

from collections.abc import Iterator

import msgspec

from spectrum.core.live_sessions import LiveSession, Selection
from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.snapshot import ListenerKey

# Of names and addresses in one packet; a single name may have more, as many as an answer over TCP holds.
NAMES_BYTES = 48 * 1024
# Each takes some 150 bytes, with the longest names 400.
SESSIONS_PER_PACKET = 200


class Take(msgspec.Struct, array_like=True, tag=True):
    """To a worker whose supervisor is gone: there is a new one. It answers with `Sockets` and `Veteran`."""


class Veteran(msgspec.Struct, array_like=True, tag=True):
    """From a worker that is taken over: who it is. With the descriptor of its flows, unless it released them before."""

    number: int
    pid: int


class Sockets(msgspec.Struct, array_like=True, tag=True):
    """To a worker, with as many descriptors: listening sockets for the next `Configure`."""

    keys: list[ListenerKey]


class Names(msgspec.Struct, array_like=True, tag=True):
    """To a worker: the addresses of names, by `core.names.name_key`; from one that is taken over: those that it has."""

    addresses: dict[str, tuple[str, ...]]

    @classmethod
    def packets(cls, addresses: dict[str, tuple[str, ...]]) -> "Iterator[Names]":
        """Yield as many messages as it takes."""
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
    """To a worker that is taken over: leave listeners and flows to the one that follows it.

    With a descriptor: through that socket go the sockets of flows. Its TCP sessions may go on for so many seconds, 0
    for as long as they last.
    """

    timeout_s: float


class Released(msgspec.Struct, array_like=True, tag=True):
    """From a worker: it has."""


class Drain(msgspec.Struct, array_like=True, tag=True):
    """To a worker: stop accepting, let sessions end for so many seconds, then exit."""

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
    # Listeners that the kernel will not watch.
    deaf: int = 0


class Events(msgspec.Struct, array_like=True, tag=True):
    """From a worker: ended sessions, one JSON object per line.

    Of worker `source`, which no other one ever is; `first` is the number of the first one there, from 1. Workers of
    versions before it do not say. They come `again` where a supervisor that is gone had them, and did not say `Kept`.
    Some may be sums of refusals, unless the worker says that it `has_sums` not.
    """

    count: int
    lines: bytes
    source: str = ""
    first: int = 0
    again: bool = False
    has_sums: bool = True


class Kept(msgspec.Struct, array_like=True, tag=True):
    """To a worker that says the `source` of its records: the journal has those with numbers below this one."""

    end: int


class FindSessions(msgspec.Struct, array_like=True, tag="Find"):
    """To a worker: which open sessions and flows it has of a selection. It answers with `FoundSessions`.

    `number` is the answer's. The first ones by `order` are told, at most `limit`; an order that it does not know is
    "age". Where it `ends` them, the reason is `killed`.
    """

    number: int
    selection: Selection
    order: str
    limit: int
    ends: bool = False


class FoundSessions(msgspec.Struct, array_like=True, tag="Found"):
    """From a worker: a part of the answer to `FindSessions`, in order; the last part says how many there are."""

    number: int
    sessions: list[LiveSession]
    total: int
    last: bool

    @classmethod
    def packets(cls, number: int, sessions: list[LiveSession], total: int) -> "Iterator[FoundSessions]":
        """Yield as many messages as it takes; there is one at least."""
        for first in range(0, max(1, len(sessions)), SESSIONS_PER_PACKET):
            end = first + SESSIONS_PER_PACKET
            yield cls(number, sessions[first:end], total, end >= len(sessions))


CrossingMessage = (
    Take
    | Veteran
    | Sockets
    | Names
    | Release
    | Released
    | Drain
    | Measures
    | Events
    | Kept
    | FindSessions
    | FoundSessions
)
