"""Encode the records of ended sessions and flows for the supervisor."""

from collections.abc import Callable, Sequence

import msgspec

from spectrum.core.records.events import SessionEvent
from spectrum.core.records.refusals import RefusalKind, RefusalSums

# Records encoded at once, about 600 bytes each: thousands of sessions may end together, and must fit the channel's
# packets.
EVENTS_AT_ONCE = 64


class Records:
    """Encodes events.

    Args:
        emit: Called with the number of events, one JSON object per line, and whether any may be a sum.

    Attributes:
        wanted: False if the configuration needs no records.
    """

    def __init__(self, emit: Callable[[int, bytes, bool], None]) -> None:
        self.wanted = True
        self._emit = emit
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._refusals = RefusalSums()

    def refused(
        self,
        kind: RefusalKind,
        client: bytes,
        make: Callable[[], SessionEvent],
        events: list[SessionEvent],
        count: int = 1,
    ) -> None:
        """Count a refused client; its record is added to `events`, or to a sum until `flush`."""
        if (event := self._refusals.add(kind, client, make, count)) is not None:
            events.append(event)

    def flush(self) -> None:
        """Pass on the sums; to be called once a second, and at the end."""
        self.add(self._refusals.take())

    def hand_on(self, count: int, lines: bytes) -> None:
        """Pass on encoded events, each of one session."""
        self._emit(count, lines, False)

    def add(self, events: Sequence[SessionEvent]) -> None:
        """Pass on events, in portions."""
        for first in range(0, len(events), EVENTS_AT_ONCE):
            portion = events[first : first + EVENTS_AT_ONCE]
            self._emit(len(portion), self._encode_lines(portion), True)
