"""The helper's loop: one request at a time, from each of the supervisors that it serves."""

import os
import select
import socket

from spectrum.helper.work import Work
from spectrum.kernel.descriptors import close_all
from spectrum.link.helper import (
    PROTOCOL,
    Another,
    Answer,
    Greet,
    Greeting,
    HelperLine,
    LineError,
    NotDone,
    NotUnderstood,
    Request,
)

# A supervisor that begins to say something says the rest by then, and takes the answer: it waits for nothing else.
LINE_TIMEOUT_S = 10.0
# One for the supervisor, one for its successor, and some for those that did not get so far.
MAX_LINES = 16


class Serving:
    """Serves until nobody is left who could ask.

    Args:
        line: Towards the first supervisor.
        work: Does what is asked for.
    """

    def __init__(self, line: HelperLine, work: Work) -> None:
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
        except NotUnderstood as exc:  # of another version, after an upgrade
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
            case Another() if len(self._lines) < MAX_LINES:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self._add(HelperLine(ours))
                return Greeting(PROTOCOL, os.getpid()), [theirs.detach()]
            case _:
                return self._work.do(request, received)
