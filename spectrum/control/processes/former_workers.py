"""Workers of the previous supervisor: taken over, relieved by new ones, and served until their sessions end."""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from spectrum.core.life.former_worker import FormerWorkerCommand, FormerWorkerEvent, FormerWorkerLife
from spectrum.core.snapshot import ListenerKey
from spectrum.kernel.peers import Peer, PinnedProcess
from spectrum.link.channel import Channel
from spectrum.link.messages import DECODER, Message
from spectrum.link.succession import GivenWorker
from spectrum.link.takeover import CrossingMessage, Drain, RecordsKept, Release, Released, Sockets, Take, TakenOver
from spectrum.link.versions import BEFORE_HELLO
from spectrum.link.waiting import waiting_names, waiting_path, waiting_paths

log = logging.getLogger(__name__)

# A worker answers within milliseconds, unless it hangs.
ANSWER_TIMEOUT_S = 5.0
CONNECT_STEP_S = 0.05
# How long workers of a version before abstract names may take to notice that their supervisor is gone.
NOTICE_STEP_S = 0.005
NOTICE_TRIES = 1000


class TakeoverRefused(Exception):
    """A worker is not taken over; the message says why."""


class FormerWorker:
    """A worker of the previous supervisor.

    Args:
        received: Called with it and each message other than those of the hand-over.
        gone: Called with it when it has ended.

    Attributes:
        life: Its state: serving or relieved, and the owner of its counters.
        place: Its worker number at that time.
        pid: Its process.
        sockets: The listening sockets that it serves; empty after it was relieved.
        flows: The memory file of its flows; -1 if it was relieved before.
        has_heir: The worker of its number in this supervisor continues its flows.
        source: The source in its records, once it has sent any.
    """

    def __init__(
        self, received: Callable[["FormerWorker", Message], None], gone: Callable[["FormerWorker"], None]
    ) -> None:
        self.life = FormerWorkerLife()
        self.place = 0
        self.pid = 0
        self._peer_pid = 0
        self.source = ""
        self.sessions = 0
        self.held_bytes = 0
        self.offloaded = 0
        self.sockets: dict[ListenerKey, socket.socket] = {}
        self.flows = -1
        self.has_heir = False
        self._given: socket.socket | None = None
        self._hello = BEFORE_HELLO
        self._received = received
        self._gone = gone
        self._channel: Channel[Message] | None = None
        self._process: PinnedProcess | None = None
        # A request has been answered, or it has ended.
        self._answered = asyncio.Event()

    @property
    def number(self) -> int:
        """A number that no worker of this supervisor has."""
        return -self.pid

    def inherit(self, given: GivenWorker) -> None:
        """Take it from the previous supervisor, which receives its messages until `begin`."""
        self.life.handle(FormerWorkerEvent.GIVE_RELIEVED if given.relieved else FormerWorkerEvent.GIVE)
        self.place, self.pid = given.place, given.pid
        self._hello = given.hello
        self._process = PinnedProcess(given.process)
        self._given = socket.socket(fileno=given.channel)

    def begin(self) -> None:
        """Receive its messages from now on, if it was handed over."""
        if self._given is None:
            return
        self._channel = channel = Channel(self._given, DECODER, self._message, self._closed, peer=self._hello)
        self._given = None
        # A relieved worker restarts its counters when its identity is requested, others when they are relieved.
        if self.life.handle(FormerWorkerEvent.BEGIN) is FormerWorkerCommand.LISTEN_AND_ASK:
            channel.send(Take())

    def give(self) -> GivenWorker | None:
        """Return its state for another supervisor; None if it has ended."""
        if self._channel is None or self._process is None:
            return None
        hello = self._channel.peer or BEFORE_HELLO
        return GivenWorker(self.place, self.pid, True, self._channel.fileno(), self._process.fileno(), hello)

    async def take(self, name: str) -> None:
        """Take over the worker that waits on a socket; it continues to serve. A worker that hangs is killed.

        Raises:
            OSError: If no worker waits there any more.
            TakeoverRefused: If it belongs to another user or to a daemon that runs, or does not answer.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await _connect(sock, name)
            peer = Peer.from_socket(sock)
            if not peer.is_trusted:
                raise TakeoverRefused(f"pid {peer.pid} belongs to another user (uid {peer.uid}) and is left alone")
            self._process = PinnedProcess.open(peer.pid)
        except TimeoutError as exc:
            sock.close()
            raise TakeoverRefused("it takes no connections") from exc
        except BaseException:
            sock.close()
            raise
        self._peer_pid = peer.pid
        # A worker that waits on a path is of a version that would not understand hello.
        met = None if name.startswith("\0") else BEFORE_HELLO
        self._channel = channel = Channel(sock, DECODER, self._message, self._closed, peer=met)
        if self.life.handle(FormerWorkerEvent.TAKE) is FormerWorkerCommand.ASK:
            channel.send(Take())
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._answered.wait()
        except TimeoutError as exc:
            if self.life.handle(FormerWorkerEvent.SILENT) is FormerWorkerCommand.KILL:
                self.kill()
                self.disown()
                self._drop_descriptors()
                raise TakeoverRefused(f"pid {peer.pid} does not answer and is killed") from exc
        if not self.pid:
            self._drop_descriptors()
            if channel.refusal:
                raise TakeoverRefused(f"pid {peer.pid} is of another version and is left alone; SIGTERM ends it")
            raise TakeoverRefused(f"pid {peer.pid} has ended, or has a supervisor")

    async def relieve(self, timeout_s: float, way: socket.socket | None) -> None:
        """Let it hand its listeners and flows to the worker at the other end of `way`, if there is one. A worker that
        was killed meanwhile leaves its flows like any killed worker.

        Args:
            timeout_s: How long its TCP sessions may go on; 0 for no limit.
            way: A socket for the sockets of flows.

        Raises:
            TimeoutError: If it does not answer.
        """
        if self._channel is None:  # It is gone.
            return
        self._answered.clear()
        self._channel.send(Release(timeout_s), [way.fileno()] if way else [])
        await asyncio.wait_for(self._answered.wait(), ANSWER_TIMEOUT_S)

    def detach(self) -> None:
        """Leave it to the supervisor that received what `give` returned."""
        if self._channel is not None:
            self._channel.detach()
            self._channel = None
        self._leave()

    def disown(self) -> None:
        """Leave it to another supervisor, which will find it."""
        if self._given is not None:  # It still has another supervisor.
            self._given.close()
            self._given = None
        if self._channel is not None:
            self._channel.leave()
            self._channel = None
        self._leave()

    def _leave(self) -> None:
        if self.life.lives:
            self.life.handle(FormerWorkerEvent.DISOWN)
        self._forget_process()

    def drain(self, timeout_s: float) -> None:
        """Let it end its sessions and exit."""
        if self._channel is not None:
            self._channel.send(Drain(timeout_s))

    def tell(self, message: CrossingMessage) -> None:
        """Send a message; unknown messages are ignored."""
        if self._channel is not None:
            self._channel.send(message)

    def tell_kept(self, end: int) -> None:
        """Tell it that its records before a number are journaled, unless many messages wait for it already."""
        if self._channel is not None:
            self._channel.send(RecordsKept(end), droppable=True)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()

    def _message(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Sockets(keys):
                opened = [socket.socket(fileno=descriptor) for descriptor in descriptors]
                self.sockets.update(zip(keys, opened, strict=True))
            case TakenOver(number, _):
                self._says(FormerWorkerEvent.INTRODUCED if descriptors else FormerWorkerEvent.INTRODUCED_RELIEVED)
                if not self.pid:
                    # The kernel knows its identity; its own statement may be about another process.
                    self.place, self.pid = number, self._peer_pid
                    self.flows = descriptors[0] if descriptors else -1
                self._answered.set()
            case Released():
                self._says(FormerWorkerEvent.RELIEVED)
                self._answered.set()
            case _:
                self._received(self, message)

    def _says(self, event: FormerWorkerEvent) -> None:
        """Process a message; one of another version may be unexpected."""
        try:
            self.life.handle(event)
        except ValueError as exc:
            log.warning("pid %d sent an unexpected message: %s", self._peer_pid or self.pid, exc)

    def _closed(self) -> None:
        self._channel = None
        self.life.handle(FormerWorkerEvent.LOST)
        self._forget_process()
        self._answered.set()
        self._gone(self)

    def _drop_descriptors(self) -> None:
        for sock in self.sockets.values():
            sock.close()
        self.sockets.clear()
        if self.flows >= 0:
            os.close(self.flows)
            self.flows = -1

    def _forget_process(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None


async def _connect(sock: socket.socket, name: str) -> None:
    """Connect a non-blocking UNIX socket: with a full queue at the other end there is nothing to wait for."""
    while True:
        try:
            sock.connect(name)
        except BlockingIOError:
            await asyncio.sleep(CONNECT_STEP_S)
        else:
            return


def _lives(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # A zombie has none (proc(5)).
    except OSError:
        return False


def _expected(control: Path, pids: list[int]) -> set[Path]:
    """Return where workers without an abstract name will wait that have not ended."""
    named = {int(name.rpartition("/")[2].partition("-")[0]) for name in waiting_names(control)}
    return {waiting_path(control, pid) for pid in pids if pid not in named and _lives(pid)}


async def take_all(
    control: Path,
    pids: list[int],
    received: Callable[[FormerWorker, Message], None],
    gone: Callable[[FormerWorker], None],
) -> list[FormerWorker]:
    """Take over the workers that wait beside a control socket.

    Args:
        control: The control socket's path.
        pids: Workers that will wait there soon, if they do not yet.
        received: See `FormerWorker`.
        gone: See `FormerWorker`.
    """
    for _ in range(NOTICE_TRIES):
        if _expected(control, pids) <= set(waiting_paths(control)):
            break
        await asyncio.sleep(NOTICE_STEP_S)
    else:
        late = sorted(_expected(control, pids) - set(waiting_paths(control)))
        log.error("workers that do not wait to be taken over are left alone: %s", ", ".join(map(str, late)))

    async def take(name: str) -> FormerWorker | None:
        former = FormerWorker(received, gone)
        try:
            await former.take(name)
        except TakeoverRefused as exc:
            log.error("a worker of the previous supervisor is not taken over: %s", exc)
        except (ConnectionRefusedError, FileNotFoundError):  # It has ended.
            if not name.startswith("\0"):
                _remove_stale(Path(name))
        except OSError as exc:
            log.error("a worker of the previous supervisor is not taken over: %s", exc.strerror)
        else:
            return former
        return None

    names = [*waiting_names(control), *map(str, waiting_paths(control))]
    taken = await asyncio.gather(*map(take, names))
    return sorted((former for former in taken if former), key=lambda former: former.pid)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a worker that was killed; files other than sockets are left alone."""
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except OSError as exc:
        log.warning("%s: %s", path, exc.strerror)
