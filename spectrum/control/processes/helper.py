"""The supervisor's side of the privileged helper: start, requests, hand-over to a successor, end."""

import asyncio
import logging
import os
import select
import socket
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import msgspec

from spectrum.control.processes.launching import start_process
from spectrum.kernel import signals
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.installation import python as python_command
from spectrum.kernel.pins import PinError, folder_of
from spectrum.link.encoding import encode
from spectrum.link.helper import (
    MAX_DESCRIPTORS,
    PROTOCOL,
    Answer,
    Done,
    EnlargeQueues,
    Greet,
    Greeting,
    HelperLine,
    LineError,
    NotDone,
    OpenLine,
    RemoveFilter,
    RemoveOffload,
    Request,
    SetBindings,
    SetFilter,
    SetFlowPrograms,
    SetOffload,
    SetTcpProtection,
    UndoFilter,
)

log = logging.getLogger(__name__)

MODULE = "spectrum.helper"
# Another process may hold the lock of the pinned objects for 10 s.
ANSWER_TIMEOUT_S = 15.0
# Long requests have a longer deadline: a million prefixes are 20 MB and take 6 s, and several times as long on a small,
# busy machine.
REQUEST_BYTES_PER_S = 1e6
START_TIMEOUT_S = 60.0
# Of these requests, the last one that succeeded defines the state.
_STATES: dict[type, str] = {
    SetFilter: "filter",
    RemoveFilter: "filter",
    SetTcpProtection: "tcp protection",
    SetFlowPrograms: "flow programs",
    SetBindings: "bindings",
    SetOffload: "offload",
    RemoveOffload: "offload",
}
WATCH_INTERVAL_S = 1.0
END_TIMEOUT_S = 1.0
_Wanted = TypeVar("_Wanted", bound=Answer)


class _HelperGone(PinError):
    """There is no helper, or no longer."""


class Helper:
    """Sends requests to the process that may change the kernel's programs and tables. It is started on demand, or by
    `start` before this process drops root; after `leave_root` no other helper can be started. Requests may come from
    any thread.

    Args:
        filesystem: The BPF file system.
    """

    def __init__(self, filesystem: Path) -> None:
        self._filesystem = filesystem
        self._asking = threading.Lock()
        self._line: HelperLine | None = None
        # A child of this process, unless a predecessor started it.
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._may_start = True
        self._why_none = ""
        # By kind of state in the kernel, a digest of the last request that set it; and that of the filter before its
        # last one.
        self._done: dict[str, bytes] = {}
        self._filter_before = b""

    @property
    def state(self) -> str:
        """The state of the helper, as text."""
        if self._line is not None:
            return f"on: pid {self._pid}"
        return f"off: {self._why_none}" if self._why_none else "off"

    @property
    def pid(self) -> int:
        """Its process id; 0 without a helper."""
        return self._pid if self._line is not None else 0

    @property
    def is_lost(self) -> bool:
        """Whether there is no helper, and none can be started."""
        return self._line is None and not self._may_start

    def enlarge(self, sockets: Sequence[int]) -> None:
        """Enlarge receive buffers of UDP sockets beyond net.core.rmem_max, if root started the helper.

        Args:
            sockets: Their descriptors, which stay open. Without a helper they stay as they are.
        """
        if self._may_start or self._line is None:
            return
        try:
            for start in range(0, len(sockets), MAX_DESCRIPTORS):
                self.ask(EnlargeQueues(), Done, sockets[start : start + MAX_DESCRIPTORS])
        except PinError as exc:
            log.warning("receive buffers of UDP sockets are limited by net.core.rmem_max: %s", exc)

    def start(self) -> None:
        """Start the helper now.

        Raises:
            PinError: If it does not start.
        """
        with self._asking:
            self._started()

    def leave_root(self) -> None:
        """Note that this process is no longer root, so a helper that it starts could not do its work."""
        self._may_start = False

    def adopt(self, descriptor: int) -> None:
        """Use the helper of a predecessor from now on, unless there is one.

        Args:
            descriptor: A socket towards it, owned from here on.
        """
        if self._line is not None or self._may_start:
            os.close(descriptor)
            return
        line = HelperLine(socket.socket(fileno=descriptor))
        try:
            self._greet(line)
        except PinError as exc:
            self._why_none = str(exc)
            log.error("the predecessor's helper cannot be used: %s; a restart of the daemon starts another one", exc)

    def another(self) -> int | None:
        """Return a descriptor for a successor, which the caller owns; None if that one starts a helper itself.

        Raises:
            PinError: If the helper does not answer.
        """
        if self._may_start or self._line is None:
            return None
        _, (descriptor,) = self.ask(OpenLine(), Greeting)
        return descriptor

    def has_pins(self) -> bool:
        """Return whether anything of ours is pinned, or that cannot be determined."""
        try:
            return folder_of(self._filesystem).is_dir()
        except PermissionError:
            return True

    def is_done(self, request: Request) -> bool:
        """Return whether a request is the last one that succeeded, and there is no helper to repeat it."""
        return self.is_lost and self._is_last(request)

    def ensure(
        self, request: Request, kind: type[_Wanted], descriptors: Sequence[int] = ()
    ) -> tuple[_Wanted, list[int]] | None:
        """As `ask`, but return None if the helper is gone and this request is the last one that succeeded. So a lost
        helper does not prevent changes of other settings: the state in the kernel stays.

        Args:
            request: The request: one that sets state.
            kind: The type of the answer, unless it is a refusal.
            descriptors: Sent with the request; they stay open here.

        Raises:
            PinError: If it is refused, or there is no helper.
        """
        if self.is_done(request):
            return None
        try:
            return self.ask(request, kind, descriptors)
        except _HelperGone:
            if self._is_last(request):
                return None
            raise

    def _is_last(self, request: Request) -> bool:
        return self._done.get(_STATES[type(request)]) == _digest(request)

    def _note(self, request: Request) -> None:
        """Note a request that succeeded."""
        if isinstance(request, UndoFilter):
            self._done["filter"] = self._filter_before
        elif state := _STATES.get(type(request)):
            digest = _digest(request)
            if state == "filter":
                self._filter_before = self._done.get(state, b"")
            self._done[state] = digest

    def ask(self, request: Request, kind: type[_Wanted], descriptors: Sequence[int] = ()) -> tuple[_Wanted, list[int]]:
        """Return the answer to a request, and the descriptors that came with it, which the caller owns.

        It blocks.

        Args:
            request: The request.
            kind: The type of the answer, unless it is a refusal.
            descriptors: Sent with the request; they stay open here.

        Raises:
            PinError: If it is refused, or there is no helper.
        """
        try:
            return self._ask(request, kind, descriptors)
        except _HelperGone:
            if not self._may_start:
                raise
        return self._ask(request, kind, descriptors)  # another one: what the first one did is whole, or nothing

    def _ask(self, request: Request, kind: type[_Wanted], descriptors: Sequence[int]) -> tuple[_Wanted, list[int]]:
        with self._asking:
            self._look()
            line = self._started()
            try:
                line.limit(ANSWER_TIMEOUT_S + len(_packed(request)) / REQUEST_BYTES_PER_S)
                answer, received = line.ask(request, descriptors)
            except LineError as exc:
                self._lose(str(exc))
                raise _HelperGone(self._none()) from exc
            if isinstance(answer, kind):
                self._note(request)
                return answer, received
        close_all(received)
        raise PinError(answer.why if isinstance(answer, NotDone) else f"the helper answers {type(answer).__name__}")

    async def watch(self) -> None:
        """Log its end, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self._asking.acquire(blocking=False):
                try:
                    self._look()
                finally:
                    self._asking.release()

    def close(self) -> None:
        """Close the link: the helper ends, unless a successor uses it."""
        if self._line is not None:
            self._line.close()
            self._line = None
        self._reap()

    def _look(self) -> None:
        """Check whether it has ended."""
        if self._line is None:
            return
        poll = select.poll()
        poll.register(self._line.fileno(), select.POLLRDHUP)
        if poll.poll(0):
            self._lose("it has ended")

    def _started(self) -> HelperLine:
        if self._line is not None:
            return self._line
        if not self._may_start:
            raise _HelperGone(self._none())
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line = HelperLine(ours)
        command = [*python_command(MODULE), str(theirs.fileno()), str(self._filesystem)]
        try:
            with theirs:
                self._process = start_process(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
                )
        except OSError as exc:
            line.close()
            raise PinError(f"the helper does not start: {(exc.strerror or str(exc)).lower()}") from exc
        return self._greet(line)

    def _greet(self, line: HelperLine) -> HelperLine:
        """Use a helper that speaks the same protocol version.

        Raises:
            PinError: If it does not.
        """
        line.limit(START_TIMEOUT_S)
        try:
            answer, received = line.ask(Greet())
        except LineError as exc:
            line.close()
            raise PinError(f"the helper does not start: {exc}{self._reap()}") from exc
        close_all(received)
        if not isinstance(answer, Greeting) or answer.protocol != PROTOCOL:
            line.close()
            raise PinError("the helper is of another version")
        self._line, self._pid, self._why_none = line, answer.pid, ""
        return line

    def _lose(self, why: str) -> None:
        assert self._line is not None, "there is one"
        self._line.close()
        self._line = None
        self._why_none = f"pid {self._pid}: {why}{self._reap()}"
        log.error("%s", self._none())

    def _none(self) -> str:
        if self._may_start:
            return f"the helper is gone ({self._why_none}); another one is started when it is needed"
        return (
            f"there is no helper ({self._why_none or 'none was started'}), and only root can start one: what is in the "
            "kernel stays, and filter, bindings and udp_offload cannot change until the daemon is restarted"
        )

    def _reap(self) -> str:
        """Return how the child ended, if it is one."""
        process, self._process = self._process, None
        if process is None:
            return ""
        try:
            status = process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # It does not respond.
            # A process of another user cannot be killed: it ends once it runs, as its link is closed.
            with suppress(PermissionError, subprocess.TimeoutExpired):
                process.kill()
                process.wait(END_TIMEOUT_S)
            return ""
        return f", {signals.name(-status)}" if status < 0 else f", exit status {status}"


def _packed(request: Request) -> bytes:
    return encode(msgspec.msgpack.Encoder(), request)


def _digest(request: Request) -> bytes:
    return blake2b(_packed(request), digest_size=16).digest()
