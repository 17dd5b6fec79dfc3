"""How a worker whose supervisor is gone waits for a new one, and how the sockets of flows go from worker to worker.

The messages of a hand-over are in `channel`. They are kept as they are from version to version; a change of them takes
another `PROTOCOL`, and an upgrade between different ones is refused before anything is given up.
"""

import asyncio
import contextlib
import os
import socket
import struct
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

PROTOCOL = 1
# SCM_MAX_FD of the kernel is 253.
SOCKETS_PER_PACKET = 250
# A worker that follows another one waits no longer than this for the sockets of its flows.
SOCKETS_TIMEOUT_S = 5.0


def waiting_path(control: Path, pid: int) -> Path:
    """Return where a worker waits, beside the control socket of its supervisor."""
    return control.with_name(f"{control.name}.worker-{pid}")


def waiting_paths(control: Path) -> list[Path]:
    """Return where workers wait."""
    return sorted(control.parent.glob(f"{control.name}.worker-*"))


class Waiting:
    """A worker's socket, on which a new supervisor connects.

    Args:
        path: The socket's path. Only the owner may connect.
        taken: Called once, with the connected socket.

    Raises:
        OSError: If it can not be had.
    """

    def __init__(self, path: Path, taken: Callable[[socket.socket], None]) -> None:
        self._path = path
        self._taken = taken
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            mask = os.umask(0o177)
            # It has its name once it listens: whoever finds it can connect.
            unready = path.with_name(f".{path.name}")
            try:
                self._socket.bind(str(unready))
            finally:
                os.umask(mask)
            self._socket.listen(1)
            unready.rename(path)
        except BaseException:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connected, _ = self._socket.accept()
        except OSError:  # gone again
            return
        self.close()
        self._taken(connected)

    def close(self) -> None:
        """Wait no longer."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def send_sockets(way: socket.socket, sockets: Sequence[tuple[int, int]]) -> None:
    """Send descriptors with their indices, and close them. They are lost where the other end is gone.

    Args:
        way: A SOCK_SEQPACKET socket.
        sockets: (index, descriptor).
    """
    way.settimeout(SOCKETS_TIMEOUT_S)
    with contextlib.suppress(OSError):
        for start in range(0, len(sockets), SOCKETS_PER_PACKET):
            part = sockets[start : start + SOCKETS_PER_PACKET]
            indices = struct.pack(f"={len(part)}I", *(index for index, _ in part))
            rights = array("i", [descriptor for _, descriptor in part])
            way.sendmsg([indices], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    for _, descriptor in sockets:
        os.close(descriptor)


def receive_sockets(way: socket.socket) -> dict[int, int]:
    """Return descriptors by index, all that come before the other end closes, or is silent for too long."""
    found: dict[int, int] = {}
    way.settimeout(SOCKETS_TIMEOUT_S)
    with contextlib.suppress(OSError):
        while True:
            data, controls, _, _ = way.recvmsg(
                SOCKETS_PER_PACKET * 4, socket.CMSG_SPACE(SOCKETS_PER_PACKET * 4), socket.MSG_CMSG_CLOEXEC
            )
            if not data:
                break
            descriptors = array("i")
            for _, _, content in controls:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
            indices = struct.unpack(f"={len(data) // 4}I", data)
            found.update(zip(indices, descriptors, strict=True))
    return found
