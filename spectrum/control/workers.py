"""Worker processes: started, told, heard, and replaced when they die."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from spectrum.core.balancing.pools import Standing
from spectrum.core.snapshot import ListenerKey, Snapshot
from spectrum.plane.channel import (
    MAX_DESCRIPTORS,
    Applied,
    Channel,
    Configure,
    Drain,
    Health,
    Inherit,
    Message,
    Names,
    Sockets,
    Started,
)
from spectrum.plane.memory import SharedMemory

log = logging.getLogger(__name__)

# Addresses of names per message, so that one fits a packet.
NAMES_PER_PACKET = 200
STANDINGS_PER_PACKET = 2000
LATENCIES_PER_PACKET = 500


class WorkerProcess:
    """One running worker.

    Args:
        number: Its place, 0 for the first; a replacement has the same.
        received: Called with each of its messages.
        exited: Called once, with the exit status, when the process is gone.
        control: The path of the control socket.

    Attributes:
        started: The process runs, or is gone.
    """

    def __init__(
        self,
        number: int,
        received: Callable[["WorkerProcess", Message], None],
        exited: Callable[["WorkerProcess", int], None],
        control: Path,
    ) -> None:
        self.number = number
        self.control = control
        self.started = asyncio.Event()
        self.ready = asyncio.Event()
        self.generation = 0
        self.sessions = 0
        self.stalled = False
        self.held_bytes = 0
        self.offloaded = 0
        self.deaf = 0
        self.started_at = 0.0
        self._received = received
        self._exited = exited
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._known: set[ListenerKey] = set()
        self._applied = asyncio.Event()
        self._gone = False

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    async def start(self, flows: int, shared: SharedMemory) -> None:
        """Start the process; it serves nothing yet.

        Args:
            flows: A memory file for its UDP flows, which it finds again in the file of the worker before it.
            shared: What it shares with the others.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = (
                sys.executable,
                "-m",
                "spectrum.plane.worker",
                str(theirs.fileno()),
                str(self.control.absolute()),
            )
            self._process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()])
        self.started_at = asyncio.get_running_loop().time()
        self._channel = Channel(ours, self._message, self.started.set)
        self.tell(shared.message(self.number), [flows, *shared.descriptors])

    async def wait(self) -> None:
        """Wait for the end of the process and tell of it."""
        assert self._process is not None, "start comes first"
        status = await self._process.wait()
        self._gone = True
        self.started.set()
        self._applied.set()
        if self._channel is not None:
            self._channel.leave()  # what it sent last may not be read yet
        self._exited(self, status)

    def disown(self) -> None:
        """Leave the process to another supervisor."""
        if self._channel is not None:
            self._channel.leave()

    async def serving(self, generation: int) -> None:
        """Wait until the worker serves a generation, or is gone (its replacement gets the latest one)."""
        while self.generation < generation and not self._gone:
            self._applied.clear()
            await self._applied.wait()

    def configure(
        self, snapshot: Snapshot, files: list[int], sockets: Callable[[list[ListenerKey]], dict[ListenerKey, int]]
    ) -> None:
        """Let the worker serve a snapshot.

        Args:
            snapshot: What to serve.
            files: Memory files that hold it, and the table of its access rules.
            sockets: Returns the descriptors of those listeners that are this worker's.
        """
        wanted = snapshot.listener_keys()
        fresh = [key for key in wanted if key not in self._known]
        for i in range(0, len(fresh), MAX_DESCRIPTORS):
            given = sockets(fresh[i : i + MAX_DESCRIPTORS])
            self.tell(Sockets(list(given)), list(given.values()))
        self._known = set(wanted)
        self.tell(Configure(), files)

    def tell_names(self, addresses: dict[str, tuple[str, ...]]) -> None:
        """Send addresses of names."""
        items = list(addresses.items())
        for i in range(0, len(items), NAMES_PER_PACKET):
            self.tell(Names(dict(items[i : i + NAMES_PER_PACKET])))

    def tell_health(self, standings: dict[int, Standing], latencies: dict[str, float]) -> None:
        """Send the standing of origins and the latency of pools."""
        stands, times = list(standings.items()), list(latencies.items())
        for i in range(0, len(stands), STANDINGS_PER_PACKET):
            self.tell(Health(dict(stands[i : i + STANDINGS_PER_PACKET]), {}))
        for i in range(0, len(times), LATENCIES_PER_PACKET):
            self.tell(Health({}, dict(times[i : i + LATENCIES_PER_PACKET])))

    def tell(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send a message."""
        if self._channel is not None:
            self._channel.send(message, descriptors or [])

    def inherit(self, way: int) -> None:
        """Let the worker go on with the flows whose sockets come through a descriptor."""
        self.tell(Inherit(), [way])

    def drain(self, timeout_s: float) -> None:
        """Let the worker end its sessions and exit."""
        self.tell(Drain(timeout_s))

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """End the process at once and wait until it is gone."""
        self.kill()
        if self._process is not None:
            await self._process.wait()

    def _message(self, message: Message, descriptors: list[int]) -> None:
        assert not descriptors, "a worker sends none"
        if isinstance(message, Started):
            self.started.set()
        elif isinstance(message, Applied):
            self.generation = message.generation
            self.ready.set()
            self._applied.set()
        self._received(self, message)


def encode(snapshot: Snapshot) -> bytes:
    """Return a snapshot as workers read it."""
    return msgspec.msgpack.encode(snapshot)


def memory_file(name: str, data: bytes) -> int:
    """Return a descriptor of a memory file with `data` (memfd_create(2)); the caller closes it."""
    descriptor = os.memfd_create(f"spectrum-{name}", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    return descriptor
