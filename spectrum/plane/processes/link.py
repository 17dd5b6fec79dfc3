"""The way to the supervisor: this one, or the one that comes after it."""

import asyncio
import socket
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from spectrum.link.channel import Channel
from spectrum.link.messages import DECODER, Message
from spectrum.link.waiting import Waiting


class News(Enum):
    """What happens to the link itself."""

    # The supervisor is gone.
    LOST = "lost"
    # All that waited to be sent has been.
    SENT = "sent"


class Link:
    """What comes from the supervisor, in its order, and what goes there.

    What arrives waits until it is received: one message is done with before the next one begins.

    Args:
        sock: This end of the channel.
        control: The path of the supervisor's control socket; a new supervisor with the same one finds this worker.

    Raises:
        OSError: If this worker has nothing on which it could wait for a new supervisor.
    """

    def __init__(self, sock: socket.socket, control: Path) -> None:
        self._arrived: asyncio.Queue[tuple[Message, list[int]] | News] = asyncio.Queue()
        self._waiting = Waiting(control, self._taken)
        self._channel = self._open(sock)

    def _open(self, sock: socket.socket) -> Channel[Message]:
        arrive = self._arrived.put_nowait
        return Channel(
            sock,
            DECODER,
            lambda message, descriptors: arrive((message, descriptors)),
            lambda: arrive(News.LOST),
            lambda: arrive(News.SENT),
        )

    def _taken(self, sock: socket.socket) -> None:
        self._channel = self._open(sock)

    async def receive(self) -> tuple[Message, list[int]] | News:
        """Wait for the next message and its descriptors, which are the caller's, or for news of the link."""
        return await self._arrived.get()

    def send(self, message: Message, descriptors: Sequence[int] = (), droppable: bool = False) -> bool:
        """Send a message; see `Channel.send`."""
        return self._channel.send(message, descriptors, droppable)

    @property
    def waits(self) -> bool:
        """Whether something waits to be sent."""
        return self._channel.waits

    @property
    def gone(self) -> bool:
        """Whether the supervisor takes nothing any more."""
        return self._channel.gone

    def undelivered(self) -> list[Message]:
        """Return what a supervisor that is gone was not sent."""
        return self._channel.undelivered()

    def wait(self) -> None:
        """Wait for a new supervisor."""
        self._waiting.begin()

    def wait_no_longer(self) -> None:
        """Have no supervisor after this one."""
        self._waiting.close()

    def close(self) -> None:
        """Have no supervisor any more."""
        self._waiting.close()
        self._channel.close()
