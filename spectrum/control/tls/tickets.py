"""The keys of TLS session tickets: generated here, sent to all workers, and rotated."""

import asyncio
import secrets
from collections.abc import Callable

from spectrum.control.configuration.actor import Actor, Change, Jobs
from spectrum.control.processes.workers import WorkerProcess

# The engine's format: a name, an AES key and an HMAC key (RFC 5077 section 4).
KEY_BYTES = 16 + 32 + 32
# A ticket is accepted for two hours; keys that rotate faster end sessions' tickets sooner.
KEYS_KEPT = 4


class TicketKeyRotation:
    """The keys: the current one, the next one, and former ones.

    A key is known to every worker one rotation before any of them encrypts with it.

    Args:
        tell: Called with all keys when they have changed.
        every_s: The interval of rotations.
    """

    def __init__(self, tell: Callable[[list[bytes]], None], every_s: float) -> None:
        self.every_s = every_s
        self._tell = tell
        self.keys = [secrets.token_bytes(KEY_BYTES) for _ in range(2)]

    def rotate(self) -> None:
        """Make the next key the current one."""
        current, following, *former = self.keys
        self.keys = [following, secrets.token_bytes(KEY_BYTES), current, *former][:KEYS_KEPT]
        self._tell(self.keys)

    async def run(self) -> None:
        """Rotate until cancelled; a changed `every_s` applies after the next rotation."""
        while True:
            await asyncio.sleep(self.every_s)
            self.rotate()


class TicketsActor(Actor):
    """Rotates the keys at the interval of the configuration.

    Args:
        keys: The keys.
    """

    def __init__(self, keys: TicketKeyRotation) -> None:
        self._keys = keys

    async def commit(self, change: Change) -> None:
        """Apply the new setting."""
        self._keys.every_s = change.after.config.session_tickets.rotate_s

    async def abort(self, change: Change) -> None:
        """Apply the former setting."""
        self._keys.every_s = change.before.config.session_tickets.rotate_s

    def jobs(self) -> Jobs:
        """Rotate the keys."""
        return {"rotate the keys of session tickets": self._keys.run}

    def tell(self, worker: WorkerProcess) -> None:
        """Send a worker the keys."""
        worker.tell_tickets(self._keys.keys)
