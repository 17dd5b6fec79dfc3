"""The process at the other end of a UNIX socket (unix(7), SO_PEERCRED), and how to signal it and no other."""

import os
import signal
import socket
import struct
from dataclasses import dataclass
from typing import Self

_UCRED = struct.Struct("=iII")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected, or that listened, as the kernel knows it.

    Attributes:
        pid: The process; 0 where it is in another PID namespace.
        uid: Its user then.
    """

    pid: int
    uid: int

    @classmethod
    def of(cls, sock: socket.socket) -> Self:
        """Return the peer of a connected UNIX socket."""
        pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return cls(pid, uid)

    @property
    def is_trusted(self) -> bool:
        """Whether it is this process's own user, or root."""
        return self.uid in (0, os.geteuid())


class PinnedProcess:
    """A process to be signalled later: by a descriptor, as its pid may be reused by then (pidfd_open(2)).

    Args:
        descriptor: The process's, owned from here on.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def of(cls, pid: int) -> Self:
        """Open a process that is known to run.

        Raises:
            OSError: If it does not run, or there is no descriptor for it.
        """
        return cls(os.pidfd_open(pid))

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""
        return self._descriptor

    def kill(self) -> None:
        """Kill it; one that has ended is left alone."""
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
