"""The socket at which a worker without a supervisor waits for a new one."""

import asyncio
import hashlib
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from spectrum.kernel.peers import Peer

log = logging.getLogger(__name__)

# Backlog of supervisors that connect to a worker at once; later ones retry.
BACKLOG = 16
# A worker learns within this time that its supervisor has ended, if the next supervisor is faster.
NOTICE_S = 1.0


def waiting_prefix(control: Path) -> str:
    """Return the prefix of the names at which the workers of a daemon wait.

    The names are abstract (unix(7)): a worker has its own from its start, independent of the control socket's folder.
    They belong to the network namespace, so two daemons in it with the same path on different file systems (two
    containers) have different ones.
    """
    path = control.parent.resolve() / control.name
    folder = next(parent for parent in path.parents if parent.exists())
    key = hashlib.blake2b(f"{path}\0{folder.stat().st_dev}".encode("utf-8", "surrogateescape"), digest_size=12)
    return f"spectrum/{key.hexdigest()}/"


def waiting_names(control: Path) -> list[str]:
    """Return the names at which workers of a daemon wait, for `socket.connect`."""
    # linux/net/unix/af_unix.c, unix_seq_show: the name is last, with "@" for each zero byte.
    pattern = re.compile(rf"@({re.escape(waiting_prefix(control))}\d+-[0-9a-f]+)$")
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as lines:
        return sorted({f"\0{found[1]}" for line in lines if (found := pattern.search(line))})


def waiting_path(control: Path, pid: int) -> Path:
    """Return the path at which a worker of a version before abstract names waits, beside the control socket."""
    return control.with_name(f"{control.name}.worker-{pid}")


def waiting_paths(control: Path) -> list[Path]:
    """Return the paths at which workers of a version before abstract names wait."""
    return sorted(control.parent.glob(f"{control.name}.worker-*"))


class Waiting:
    """A worker's socket, to which a new supervisor connects after the former one has ended.

    It is opened at the worker's start, as there may be no resources later.

    Args:
        control: The path of the control socket of the worker's supervisor.
        taken: Called with a connected socket, once after each `begin`.

    Attributes:
        begun: Whether the worker waits for a new supervisor.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, control: Path, taken: Callable[[socket.socket], None]) -> None:
        self.begun = False
        self._taken = taken
        self._early: list[socket.socket] = []
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(f"\0{waiting_prefix(control)}{os.getpid()}-{secrets.token_hex(4)}")
            self._socket.listen(BACKLOG)
        except BaseException:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def begin(self) -> None:
        """Wait from now on: the supervisor has ended."""
        self.begun = True
        if self._early:
            self._give(self._early.pop())

    def _accept(self) -> None:
        try:
            connected, _ = self._socket.accept()
        except OSError:  # it has disconnected
            return
        peer = Peer.from_socket(connected)
        if not peer.is_trusted:
            log.warning("a process of another user (pid %d, uid %d) tried to take this worker over", peer.pid, peer.uid)
            connected.close()
        elif self.begun:
            self._give(connected)
        else:
            self._early.append(connected)
            self._loop.call_later(NOTICE_S, self._refuse, connected)

    def _give(self, connected: socket.socket) -> None:
        self.begun = False
        self._taken(connected)

    def _refuse(self, connected: socket.socket) -> None:
        """Refuse a connection: this worker has a supervisor."""
        if connected in self._early:
            self._early.remove(connected)
            connected.close()

    def close(self) -> None:
        """Stop waiting for good."""
        self.begun = False
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        while self._early:
            self._early.pop().close()
