"""The keys of TLS session tickets: made here, told to all workers, and replaced."""

import asyncio
import secrets
from collections.abc import Callable

from spectrum.control.configuration.actor import Actor, Change, Jobs
from spectrum.control.processes.workers import WorkerProcess

# As the engine takes them: a name, an AES key and an HMAC key (RFC 5077 section 4).
KEY_BYTES = 16 + 32 + 32
# A ticket is taken for two hours; keys that are replaced sooner than that end sessions sooner.
KEYS_KEPT = 4


class TicketKeyRotation:
    """The keys: the one that encrypts, the one that will, and those that did.

    A key is known to every worker one rotation before any of them encrypts with it.

    Args:
        tell: Called with all keys when they have changed.
        every_s: How often one is replaced.
    """

    def __init__(self, tell: Callable[[list[bytes]], None], every_s: float) -> None:
        self.every_s = every_s
        self._tell = tell
        self.keys = [secrets.token_bytes(KEY_BYTES) for _ in range(2)]

    def rotate(self) -> None:
        """Let the next key encrypt."""
        current, following, *former = self.keys
        self.keys = [following, secrets.token_bytes(KEY_BYTES), current, *former][:KEYS_KEPT]
        self._tell(self.keys)

    async def run(self) -> None:
        """Rotate until cancelled; a changed `every_s` holds from the rotation after the next."""
        while True:
            await asyncio.sleep(self.every_s)
            self.rotate()


class TicketsActor(Actor):
    """Has the keys replaced as often as a configuration says.

    Args:
        keys: The keys.
    """

    def __init__(self, keys: TicketKeyRotation) -> None:
        self._keys = keys

    async def commit(self, change: Change) -> None:
        """Take the new setting."""
        self._keys.every_s = change.after.config.session_tickets.rotate_s

    async def abort(self, change: Change) -> None:
        """Take the former one."""
        self._keys.every_s = change.before.config.session_tickets.rotate_s

    def jobs(self) -> Jobs:
        """Rotate the keys."""
        return {"rotate the keys of session tickets": self._keys.run}

    def tell(self, worker: WorkerProcess) -> None:
        """Give a worker the keys."""
        worker.tell_tickets(self._keys.keys)
