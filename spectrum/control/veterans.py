"""Workers of the supervisor before this one: taken over, relieved by new ones, and heard until their sessions end."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from spectrum.core.snapshot import ListenerKey
from spectrum.plane.channel import Channel, Drain, Message, Release, Released, Sockets, Take, Veteran
from spectrum.plane.handover import waiting_path, waiting_paths

log = logging.getLogger(__name__)

# A worker answers within milliseconds, unless it is hung.
ANSWER_TIMEOUT_S = 5.0
# So long it may take workers to notice that their supervisor is gone.
NOTICE_STEP_S = 0.005
NOTICE_TRIES = 1000


class VeteranWorker:
    """One worker of the supervisor before this one.

    Args:
        received: Called with it and each message that is not of the hand-over.
        gone: Called with it when it has ended.

    Attributes:
        place: Its number among the workers then.
        pid: Its process.
        sockets: The listening sockets that it serves; empty once it was relieved.
        flows: The memory file of its flows; -1 where it was relieved before.
    """

    def __init__(
        self, received: Callable[["VeteranWorker", Message], None], gone: Callable[["VeteranWorker"], None]
    ) -> None:
        self.place = 0
        self.pid = 0
        self.sessions = 0
        self.held_bytes = 0
        self.offloaded = 0
        self.sockets: dict[ListenerKey, socket.socket] = {}
        self.flows = -1
        self._received = received
        self._gone = gone
        self._channel: Channel | None = None
        self._introduced = asyncio.Event()
        self._relieved = asyncio.Event()

    @property
    def number(self) -> int:
        """A number that no worker of ours has."""
        return -self.pid

    @property
    def lives(self) -> bool:
        """Whether it is there."""
        return self._channel is not None

    async def take(self, path: Path) -> None:
        """Take over the worker that waits on a socket; it goes on serving.

        Raises:
            OSError: If nobody waits there any more.
            TimeoutError: If it does not answer.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(str(path))
        except OSError:
            sock.close()
            raise
        self._channel = Channel(sock, self._message, self._closed)
        self._channel.send(Take())
        await asyncio.wait_for(self._introduced.wait(), ANSWER_TIMEOUT_S)
        if not self.pid:
            raise ConnectionResetError(f"the worker on {path} ended")

    async def relieve(self, timeout_s: float, way: socket.socket | None) -> None:
        """Let it leave its listeners and flows to the worker at the other end of `way`, if there is one.

        One that has ended meanwhile, killed, leaves its flows as any killed worker does.

        Args:
            timeout_s: So long its TCP sessions may go on; 0 for as long as they last.
            way: A socket for the sockets of flows.

        Raises:
            TimeoutError: If it does not answer.
        """
        if self._channel is None:  # it has been taken over: it is gone
            return
        self._channel.send(Release(timeout_s), [way.fileno()] if way else [])
        await asyncio.wait_for(self._relieved.wait(), ANSWER_TIMEOUT_S)

    def disown(self) -> None:
        """Leave it to another supervisor."""
        if self._channel is not None:
            self._channel.leave()
            self._channel = None

    def drain(self, timeout_s: float) -> None:
        """Let it end its sessions and exit."""
        if self._channel is not None:
            self._channel.send(Drain(timeout_s))

    def kill(self) -> None:
        """End it at once."""
        if self._channel is not None:
            os.kill(self.pid, signal.SIGKILL)

    def _message(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Sockets(keys):
                opened = [socket.socket(fileno=descriptor) for descriptor in descriptors]
                self.sockets.update(zip(keys, opened, strict=True))
            case Veteran(number, pid):
                self.place, self.pid = number, pid
                self.flows = descriptors[0] if descriptors else -1
                self._introduced.set()
            case Released():
                self._relieved.set()
            case _:
                self._received(self, message)

    def _closed(self) -> None:
        self._channel = None
        self._introduced.set()
        self._relieved.set()
        self._gone(self)


def _lives(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # a zombie has none (proc(5))
    except OSError:
        return False


def _expected(control: Path, pids: list[int]) -> set[Path]:
    """Return where those of the workers that have not ended will wait."""
    return {waiting_path(control, pid) for pid in pids if _lives(pid)}


async def take_all(
    control: Path,
    pids: list[int],
    received: Callable[[VeteranWorker, Message], None],
    gone: Callable[[VeteranWorker], None],
) -> list[VeteranWorker]:
    """Take over the workers that wait beside a control socket.

    Args:
        control: The control socket's path.
        pids: Workers that will wait there any moment, if they do not yet.
        received: See `VeteranWorker`.
        gone: See `VeteranWorker`.
    """
    for _ in range(NOTICE_TRIES):
        if _expected(control, pids) <= set(waiting_paths(control)):
            break
        await asyncio.sleep(NOTICE_STEP_S)
    taken = []
    for path in waiting_paths(control):
        veteran = VeteranWorker(received, gone)
        try:
            await veteran.take(path)
        except TimeoutError:
            log.error("the worker that waits on %s does not answer", path)
            veteran.disown()
        except PermissionError:
            log.error("the worker that waits on %s belongs to another user and is left alone", path)
        except OSError:
            path.unlink(missing_ok=True)  # of one that was killed
        else:
            taken.append(veteran)
    return taken
