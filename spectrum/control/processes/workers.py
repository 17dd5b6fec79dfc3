"""Worker processes: start, messages, and replacement when they die."""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Sequence, Set
from contextlib import ExitStack
from pathlib import Path

from spectrum.control.processes.children import Child
from spectrum.core.balancing.pools import Standing
from spectrum.core.difference import Difference
from spectrum.core.life.worker import WorkerCommand, WorkerEvent, WorkerLife
from spectrum.core.snapshot import ListenerKey
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.installation import python
from spectrum.link.channel import MAX_DESCRIPTORS, Channel
from spectrum.link.messages import (
    DECODER,
    Applied,
    Ask,
    Challenge,
    Challenges,
    Configure,
    HealthUpdate,
    Inherit,
    Message,
    Refused,
    ShortQueues,
    Started,
    TicketKeysUpdate,
)
from spectrum.link.succession import GivenWorker
from spectrum.link.takeover import Drain, Names, RecordsKept, Sockets
from spectrum.link.versions import BEFORE_HELLO
from spectrum.plane.memory import SharedMemory

log = logging.getLogger(__name__)

# Bytes kept of the output of a worker before it ended.
MAX_SAID_BYTES = 64 * 1024
STANDINGS_PER_PACKET = 2000
LATENCIES_PER_PACKET = 500


# The outcome of a snapshot: served (""), or why not; None if the worker ended before it answered.
Outcome = str | None


class _SentSnapshot:
    """A snapshot that was sent to a worker and is not answered yet."""

    def __init__(self, knows: Callable[[], Set[ListenerKey]]) -> None:
        self.knows = knows
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()


class WorkerProcess:
    """One running worker.

    Args:
        number: Its number, 0 for the first; a replacement has the same.
        received: Called with each of its messages.
        exited: Called once, with the exit status, when the process is gone.
        control: The path of the control socket.
        late: Called when messages can be sent that could not be sent before.
        enlarge: Called with descriptors, which it owns, of UDP sockets whose receive buffers are to be enlarged.

    Attributes:
        life: Its state, what it was sent and what it serves.
        started: Set when the process runs, or is gone.
        refusal: Why it refused the last snapshot; "" if it did not.
        lived_s: How long it served, once it has ended.
        last_words: The last line that it printed, where it ended before it had started.
        source: Of its records, once it has sent any.
        known: The listeners that it has.
        silent_s: How long nothing was heard of it, as far as this process ran and could have heard it.
    """

    def __init__(
        self,
        number: int,
        received: Callable[["WorkerProcess", Message], None],
        exited: Callable[["WorkerProcess", int], None],
        control: Path,
        late: Callable[["WorkerProcess"], None] = lambda worker: None,
        enlarge: Callable[[list[int]], None] = close_all,
    ) -> None:
        self.number = number
        self.control = control
        self.life = WorkerLife()
        self.started = asyncio.Event()
        self.refusal = ""
        self.silent_s = 0.0
        self.sessions = 0
        self.source = ""
        self.stalled = False
        self.held_bytes = 0
        self.offloaded = 0
        self.deaf = 0
        self.ready_at = self.lived_s = 0.0
        self.last_words = ""
        self._said = -1
        self._received = received
        self._enlarge = enlarge
        self._exited = exited
        self._late = late
        self._process: Child | None = None
        self._channel: Channel[Message] | None = None
        self.known: Set[ListenerKey] = frozenset()
        self._unanswered: _SentSnapshot | None = None
        # Messages that it does not read yet: the latest of each kind is kept.
        self._late_names: dict[str, tuple[str, ...]] = {}
        self._late_standings: dict[int, Standing] = {}
        self._late_latencies: dict[str, float] = {}
        self._late_keys: list[bytes] = []
        self._late_challenges: list[Challenge] | None = None

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid})"

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process else 0

    def start(self, flows: int, shared: SharedMemory) -> None:
        """Start the process; it serves nothing yet.

        Args:
            flows: A memory file for its UDP flows, with those of the former worker of its number.
            shared: The memory that it shares with the others.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._run(theirs.fileno())
        except OSError:
            ours.close()
            self._take_said()
            raise
        self._channel = Channel(ours, DECODER, self._message, self._lost, self._tell_late)
        self.tell(shared.message(self.number), [flows, *shared.descriptors])

    def _run(self, channel: int) -> None:
        """Run the process. Its output before it has started is kept: it may say why it fails."""
        self._said = os.memfd_create("spectrum-said", os.MFD_CLOEXEC)
        errors = os.dup(2)
        command = [*python("spectrum.plane.worker"), str(channel), str(self.control.absolute()), str(errors)]
        try:
            self._process = Child(command, [channel, errors], self._said)
        finally:
            os.close(errors)

    def _take_said(self) -> str:
        """Log the output of the worker before it began; return its last line."""
        if self._said < 0:
            return ""
        size = os.fstat(self._said).st_size
        said = os.pread(self._said, MAX_SAID_BYTES, max(0, size - MAX_SAID_BYTES)).decode(errors="replace")
        os.close(self._said)
        self._said = -1
        if said:
            log.warning("%s printed before it began: %s", self, said.rstrip())
        return last_line(said)

    async def wait(self) -> None:
        """Wait for the end of the process and report it."""
        assert self._process is not None, "start comes first"
        status = await self._process.wait()
        self.lived_s = asyncio.get_running_loop().time() - self.ready_at if self.ready_at else 0.0
        self.last_words = self._take_said() or (self._channel.refusal if self._channel else "")
        self.started.set()
        if self._channel is not None:
            self._channel.leave()  # Its last messages may not be read yet.
        self.life.handle(WorkerEvent.EXITED)
        if self._unanswered is not None:
            self._unanswered.outcome.set_result(None)
        self._exited(self, status)

    def _lost(self) -> None:
        self.life.handle(WorkerEvent.LOST)
        self.started.set()

    def give(self, opened: ExitStack) -> GivenWorker | None:
        """Return its state for another supervisor; None if it has ended.

        Args:
            opened: Closes descriptors that are opened for it.
        """
        if not self.life.lives or self._channel is None:
            return None
        process = os.pidfd_open(self.pid)
        opened.callback(os.close, process)
        hello = self._channel.peer or BEFORE_HELLO
        return GivenWorker(self.number, self.pid, False, self._channel.fileno(), process, hello)

    def detach(self) -> None:
        """Leave the process to the supervisor that received what `give` returned."""
        if self.life.handle(WorkerEvent.LEAVE) is WorkerCommand.LEAVE and self._channel is not None:
            self._channel.detach()

    def configure(
        self,
        generation: int,
        wanted: frozenset[ListenerKey],
        fresh: Sequence[ListenerKey],
        files: list[int],
        sockets: Callable[[Sequence[ListenerKey]], dict[ListenerKey, int]],
    ) -> "asyncio.Future[Outcome]":
        """Let the worker serve a snapshot; return what becomes of it, once that is known.

        Args:
            generation: What it is called.
            wanted: Its listeners.
            fresh: Those of them that are not `known` to it.
            files: Memory files that hold it, and the table of its access rules.
            sockets: Returns the descriptors of those listeners that are this worker's.

        Raises:
            OSError: If sending fails: no descriptors or no memory.
            ValueError: If it may not be told now, see `WorkerLife.may_be_told`.
        """
        self._give(fresh, sockets)
        return self._told(Configure(generation), files, lambda: wanted)

    def serves(self, generation: int) -> bool:
        """Return whether a difference from a generation can be sent: the worker serves that, and took it at once."""
        return self.life.serves and self.life.generation == generation and not self.refusal

    def change(
        self,
        difference: Difference,
        files: list[int],
        sockets: Callable[[Sequence[ListenerKey]], dict[ListenerKey, int]],
    ) -> "asyncio.Future[Outcome]":
        """Let the worker serve a difference; otherwise as `configure`. A listener that these apps leave is sent again
        when an app uses it once more, even if others shared it meanwhile.
        """
        wanted = frozenset(key for app in difference.apps for key, _ in app.listeners())
        self._give(list(wanted - self.known), sockets)
        left = difference.listeners().keys() - wanted
        told = Configure(difference.after, difference.before)

        def knows() -> Set[ListenerKey]:
            known = self.known if isinstance(self.known, set) else set(self.known)
            known.difference_update(left)
            known.update(wanted)
            return known

        return self._told(told, files, knows)

    def _give(
        self, fresh: Sequence[ListenerKey], sockets: Callable[[Sequence[ListenerKey]], dict[ListenerKey, int]]
    ) -> None:
        """Give it the sockets of listeners that it does not have."""
        for i in range(0, len(fresh), MAX_DESCRIPTORS):
            given = sockets(fresh[i : i + MAX_DESCRIPTORS])
            self.tell(Sockets(list(given)), list(given.values()))

    def _told(
        self, message: Configure, files: list[int], knows: Callable[[], Set[ListenerKey]]
    ) -> "asyncio.Future[Outcome]":
        """Note what was sent; after it was taken the worker `knows` these listeners."""
        self.tell(message, files)
        self.life.tell(message.generation)
        self._unanswered = _SentSnapshot(knows)
        return self._unanswered.outcome

    def tell_names(self, addresses: dict[str, tuple[str, ...]]) -> None:
        """Send addresses of names."""
        self._late_names |= addresses
        self._tell_late()

    def tell_health(self, standings: dict[int, Standing], latencies: dict[str, float]) -> None:
        """Send the standing of origins and the latency of pools."""
        self._late_standings |= standings
        self._late_latencies |= latencies
        self._tell_late()

    def tell_tickets(self, keys: list[bytes]) -> None:
        """Send the keys of TLS session tickets."""
        self._late_keys = keys
        self._tell_late()

    def tell_challenges(self, challenges: list[Challenge]) -> None:
        """Send the answers for tls-alpn-01."""
        self._late_challenges = challenges
        self._tell_late()

    def _tell_late(self) -> None:
        """Send the latest names, health, keys and challenges; a worker that does not read gets them later."""
        if self._channel is None or self._channel.waits:
            return
        names, stands, times = self._late_names, list(self._late_standings.items()), list(self._late_latencies.items())
        if self._late_keys:
            self.tell(TicketKeysUpdate(self._late_keys))
        if self._late_challenges is not None:
            self.tell(Challenges(self._late_challenges))
            self._late_challenges = None
        self._late_names, self._late_standings, self._late_latencies, self._late_keys = {}, {}, {}, []
        for packet in Names.packets(names):
            self.tell(packet)
        for i in range(0, len(stands), STANDINGS_PER_PACKET):
            self.tell(HealthUpdate(dict(stands[i : i + STANDINGS_PER_PACKET]), {}))
        for i in range(0, len(times), LATENCIES_PER_PACKET):
            self.tell(HealthUpdate({}, dict(times[i : i + LATENCIES_PER_PACKET])))

    def tell(self, message: Message, descriptors: list[int] | None = None) -> None:
        """Send a message."""
        if self._channel is not None:
            self._channel.send(message, descriptors or [])

    def tell_kept(self, end: int) -> None:
        """Tell the worker that its records before a number are journaled, unless many messages wait for it already."""
        if self._channel is not None:
            self._channel.send(RecordsKept(end), droppable=True)

    def ask(self, number: int) -> None:
        """Request its measures, unless many messages wait for it already."""
        if self._channel is not None:
            self._channel.send(Ask(number), droppable=True)

    def inherit(self, way: int) -> None:
        """Let the worker continue the flows whose sockets come through a descriptor."""
        self.tell(Inherit(), [way])

    def drain(self, timeout_s: float) -> None:
        """Let the worker end its sessions and exit."""
        if self.life.handle(WorkerEvent.DRAIN) is WorkerCommand.DRAIN:
            self.tell(Drain(timeout_s))

    def kill(self) -> None:
        """End the process at once."""
        if self.life.handle(WorkerEvent.KILL) is WorkerCommand.KILL and self._process is not None:
            self._process.kill()

    async def end(self) -> None:
        """End the process at once and wait until it is gone."""
        self.kill()
        if self._process is not None:
            await self._process.wait()

    def _message(self, message: Message, descriptors: list[int]) -> None:
        self.silent_s = 0.0
        if isinstance(message, ShortQueues):
            self._enlarge(descriptors)
            return
        assert not descriptors, "a worker sends no descriptors with it"
        match message:
            case Started():
                self._take_said()
                self.life.handle(WorkerEvent.STARTED)
                self.started.set()
            case Applied(generation):
                self._answered("", generation)
                self.ready_at = self.ready_at or asyncio.get_running_loop().time()
            case Refused(_, why, serves):
                self._answered(why, serves)
        self._received(self, message)

    def _answered(self, why: str, serves: int) -> None:
        command = self.life.answer(serves)
        self.refusal = why
        told, self._unanswered = self._unanswered, None
        assert told is not None, "it owed an answer"
        if not why:
            self.known = told.knows()
        told.outcome.set_result(why)
        if command is WorkerCommand.TELL:
            self._late(self)


def last_line(said: str) -> str:
    """Return the last line that was printed; of one of our own messages in JSON, its text."""
    line = said.strip().rpartition("\n")[2]
    try:
        return str(json.loads(line)["Message"])
    except (ValueError, TypeError, KeyError):
        return line
