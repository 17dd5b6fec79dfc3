"""The helper's loop: it answers requests of its supervisors, one at a time."""

import os
import select
import socket

from spectrum.helper.work import RequestHandler
from spectrum.kernel.descriptors import close_all
from spectrum.link.helper import (
    PROTOCOL,
    Answer,
    Greet,
    Greeting,
    HelperLine,
    LineError,
    NotDone,
    NotUnderstood,
    OpenLine,
    Request,
)

# Timeout of a message, and of its answer: a supervisor sends without pauses.
LINE_TIMEOUT_S = 10.0
# Lines: one for the supervisor, one for its successor, and some for successors that failed to start.
MAX_LINES = 16


class HelperServer:
    """Serves until all lines are closed.

    Args:
        line: The line to the first supervisor.
        work: Handles requests.
    """

    def __init__(self, line: HelperLine, work: RequestHandler) -> None:
        self._work = work
        self._lines: dict[int, HelperLine] = {}
        self._poll = select.poll()
        self._add(line)

    def run(self) -> None:
        """Answer requests until the last line is closed."""
        while self._lines:
            for descriptor, _ in self._poll.poll():
                try:
                    self._answer(self._lines[descriptor])
                except LineError:
                    self._poll.unregister(descriptor)
                    self._lines.pop(descriptor).close()

    def _add(self, line: HelperLine) -> None:
        line.limit(LINE_TIMEOUT_S)
        self._lines[line.fileno()] = line
        self._poll.register(line.fileno(), select.POLLIN)

    def _answer(self, line: HelperLine) -> None:
        try:
            request, received = line.listen()
        except NotUnderstood as exc:  # from another version, after an upgrade
            line.send(NotDone(str(exc)))
            return
        try:
            answer, given = self._done(request, received)
        finally:
            close_all(received)
        try:
            line.send(answer, given)
        finally:
            close_all(given)

    def _done(self, request: Request, received: list[int]) -> tuple[Answer, list[int]]:
        match request:
            case Greet():
                return Greeting(PROTOCOL, os.getpid()), []
            case OpenLine() if len(self._lines) < MAX_LINES:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self._add(HelperLine(ours))
                return Greeting(PROTOCOL, os.getpid()), [theirs.detach()]
            case _:
                return self._work.do(request, received)
