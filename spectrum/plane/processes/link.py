"""The link to the supervisor: the current one, or a later one."""

import asyncio
import socket
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from spectrum.link.channel import Channel
from spectrum.link.messages import DECODER, Message
from spectrum.link.waiting import Waiting


class LinkEvent(Enum):
    """Events of the link itself."""

    # The supervisor is gone.
    LOST = "lost"
    # Everything that waited has been sent.
    SENT = "sent"


class Link:
    """Messages from the supervisor, in order, and messages to it. Messages wait until they are received: one is
    processed before the next one begins.

    What arrives waits until it is received: one message is done with before the next one begins.

    Args:
        sock: This end of the channel.
        control: The path of the supervisor's control socket; a new supervisor with the same path finds this worker.

    Raises:
        OSError: If this worker cannot create a socket on which to wait for a new supervisor.
    """

    def __init__(self, sock: socket.socket, control: Path) -> None:
        self._arrived: asyncio.Queue[tuple[Message, list[int]] | LinkEvent] = asyncio.Queue()
        self._waiting = Waiting(control, self._taken)
        self._channel = self._open(sock)

    def _open(self, sock: socket.socket) -> Channel[Message]:
        arrive = self._arrived.put_nowait
        return Channel(
            sock,
            DECODER,
            lambda message, descriptors: arrive((message, descriptors)),
            lambda: arrive(LinkEvent.LOST),
            lambda: arrive(LinkEvent.SENT),
        )

    def _taken(self, sock: socket.socket) -> None:
        self._channel = self._open(sock)

    async def receive(self) -> tuple[Message, list[int]] | LinkEvent:
        """Wait for the next message and its descriptors, which the caller owns, or for an event of the link."""
        return await self._arrived.get()

    def send(self, message: Message, descriptors: Sequence[int] = (), droppable: bool = False) -> bool:
        """Send a message; see `Channel.send`."""
        return self._channel.send(message, descriptors, droppable)

    @property
    def waits(self) -> bool:
        """Whether messages wait to be sent."""
        return self._channel.waits

    @property
    def gone(self) -> bool:
        """Whether the supervisor is gone."""
        return self._channel.gone

    def undelivered(self) -> list[Message]:
        """Return the messages that were not sent to a supervisor that is gone."""
        return self._channel.undelivered()

    def wait(self) -> None:
        """Wait for a new supervisor."""
        self._waiting.begin()

    def wait_no_longer(self) -> None:
        """Stop waiting: no supervisor follows."""
        self._waiting.close()

    def close(self) -> None:
        """Close the link."""
        self._waiting.close()
        self._channel.close()
