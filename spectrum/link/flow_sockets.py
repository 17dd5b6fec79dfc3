"""How the sockets of UDP flows go from a worker to the one that follows it, which may be of another version."""

import asyncio
import errno
import logging
import os
import socket
import struct
from array import array
from collections.abc import Sequence

from spectrum.link.readiness import readable, writable

log = logging.getLogger(__name__)

# SCM_MAX_FD of the kernel is 253.
SOCKETS_PER_PACKET = 250
# The sockets of flows have gone from worker to worker by then; a supervisor gives the old one a second more.
SOCKETS_TIMEOUT_S = 4.0
BUSY_STEP_S = 0.01


async def send_sockets(way: socket.socket, sockets: Sequence[tuple[int, int]]) -> None:
    """Send descriptors with their indices, and close them. Some are lost where the other end is gone, or does not read.

    Args:
        way: A SOCK_SEQPACKET socket.
        sockets: (index, descriptor).
    """
    way.setblocking(False)
    try:
        async with asyncio.timeout(SOCKETS_TIMEOUT_S):
            for start in range(0, len(sockets), SOCKETS_PER_PACKET):
                part = sockets[start : start + SOCKETS_PER_PACKET]
                indices = struct.pack(f"={len(part)}I", *(index for index, _ in part))
                rights = array("i", [descriptor for _, descriptor in part])
                while (blocked := _send(way, indices, rights)) is not None:
                    if blocked == errno.ETOOMANYREFS:  # more are on their way than this user may have (unix(7))
                        await asyncio.sleep(BUSY_STEP_S)
                    else:
                        await writable(way)
    except TimeoutError:
        log.error("the worker that follows does not take the sockets of flows: they get new ones")
    except OSError as exc:
        log.error("the sockets of flows do not reach the worker that follows (%s): they get new ones", exc.strerror)
    finally:
        for _, descriptor in sockets:
            os.close(descriptor)


def _send(way: socket.socket, indices: bytes, rights: "array[int]") -> int | None:
    """Send a packet; return the error for which it has to wait, if any."""
    try:
        way.sendmsg([indices], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.ETOOMANYREFS):
            return exc.errno
        raise
    return None


async def receive_sockets(way: socket.socket) -> dict[int, int]:
    """Return descriptors by index, all that come before the other end closes, or is silent for too long."""
    found: dict[int, int] = {}
    way.setblocking(False)
    try:
        async with asyncio.timeout(SOCKETS_TIMEOUT_S):
            while True:
                try:
                    indices, descriptors = _receive(way)
                except BlockingIOError:
                    await readable(way)
                    continue
                if not indices:
                    break
                # At the descriptor limit the last ones are missing (MSG_CTRUNC).
                found.update(zip(indices, descriptors, strict=False))
    except TimeoutError:
        log.error("the worker before this one does not send the sockets of all flows: the others get new ones")
    except OSError as exc:
        log.error("the sockets of flows do not all come (%s): the others get new ones", exc.strerror)
    return found


def _receive(way: socket.socket) -> tuple[tuple[int, ...], list[int]]:
    """Return the indices and descriptors of one packet; none at the end."""
    data, controls, _, _ = way.recvmsg(
        SOCKETS_PER_PACKET * 4, socket.CMSG_SPACE(SOCKETS_PER_PACKET * 4), socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array("i")
    for _, _, content in controls:
        descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return struct.unpack(f"={len(data) // 4}I", data), descriptors.tolist()
