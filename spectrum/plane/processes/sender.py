"""Sends records to the supervisor in batches, as each wake-up of the supervisor is expensive."""

import asyncio

from spectrum.core.life.service import ServiceLife
from spectrum.link.takeover import Events
from spectrum.plane.outbox import EVENT_BYTES, Outbox
from spectrum.plane.processes.link import Link

EVENT_DELAY_S = 0.1
# Bytes sent at once, in a few messages, which fit the socket's buffer.
COLLECTED_BYTES = 6 * EVENT_BYTES


class Sender:
    """Sends records while the worker is heard and the link takes them, and keeps them else.

    Args:
        link: Sends them.
        life: The worker's state.
        outbox: Keeps them until then.
    """

    def __init__(self, link: Link, life: ServiceLife, outbox: Outbox) -> None:
        self._link = link
        self._life = life
        self._outbox = outbox
        self._timer: asyncio.TimerHandle | None = None

    def emit(self, count: int, lines: bytes, has_sums: bool) -> None:
        """Send records soon: their number, one line for each, and whether some of them stand for several sessions."""
        self._outbox.add(count, lines, has_sums)
        if self._outbox.size >= COLLECTED_BYTES:
            self._send(EVENT_BYTES)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVENT_DELAY_S, self.flush)

    def flush(self) -> None:
        """Send all records now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._send(1)

    def _send(self, least: int) -> None:
        """Send records while at least so many bytes of them wait."""
        if not self._life.is_heard:
            return
        # What waits in the link cannot be sampled any more.
        while self._outbox.size >= least and not self._link.waits:
            message = self._outbox.take()
            if not self._link.send(message):
                return  # the next supervisor gets them
            self._outbox.done(message)

    def take_back(self) -> None:
        """Keep records that the former supervisor may not have received for the next one."""
        self._outbox.put_back(message for message in self._link.undelivered() if isinstance(message, Events))

    @property
    def is_empty(self) -> bool:
        """Whether all records have been sent."""
        return not self._outbox and not self._link.waits
