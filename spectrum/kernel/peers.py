"""The process at the other end of a UNIX socket (unix(7), SO_PEERCRED), and signals to exactly that process."""

import os
import signal
import socket
import struct
from dataclasses import dataclass
from typing import Self

_UCRED = struct.Struct("=iII")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected, or that listens, from the kernel.

    Attributes:
        pid: Its id; 0 if it is in another PID namespace.
        uid: Its user at the time of connect or listen.
    """

    pid: int
    uid: int

    @classmethod
    def from_socket(cls, sock: socket.socket) -> Self:
        """Return the peer of a connected UNIX socket."""
        pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return cls(pid, uid)

    @property
    def is_trusted(self) -> bool:
        """Whether it runs as this process's user, or as root."""
        return self.uid in (0, os.geteuid())


class PinnedProcess:
    """A process to be signalled later: by descriptor, as its pid may be reused (pidfd_open(2)).

    Args:
        descriptor: The pidfd; owned by this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, pid: int) -> Self:
        """Open a running process.

        Raises:
            OSError: If it does not run, or the kernel refuses a descriptor.
        """
        return cls(os.pidfd_open(pid))

    def fileno(self) -> int:
        """Return the descriptor; -1 after `close`."""
        return self._descriptor

    def kill(self) -> None:
        """Kill the process; no effect if it has ended."""
        if self._descriptor >= 0:
            try:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
