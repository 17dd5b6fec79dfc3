"""The transfer of UDP flows' sockets from a worker to its replacement, which may be of another version.

Packets contain indices in the file of flows (`engine.flows`), each with as many descriptors. The first packet is the
sender's hello, without descriptors: versions before hello ignore indices without descriptors. The receiver sends none:
its supervisor, of the same version, has exchanged hellos with the sender.
"""

import asyncio
import errno
import logging
import os
import socket
import struct
from array import array
from collections.abc import Sequence

from spectrum.link.readiness import readable, writable
from spectrum.link.versions import Hello, mismatch

log = logging.getLogger(__name__)

# SCM_MAX_FD of the kernel is 253.
SOCKETS_PER_PACKET = 250
# Timeout of the transfer; a supervisor gives the old worker a second more.
SOCKETS_TIMEOUT_S = 4.0
BUSY_STEP_S = 0.01
_HELLO = struct.Struct("=4sII")
_MAGIC = b"SPFS"


async def send_sockets(way: socket.socket, sockets: Sequence[tuple[int, int]]) -> None:
    """Send descriptors with their indices, and close them. Some are lost if the other end closes, or does not read.

    Args:
        way: A SOCK_SEQPACKET socket.
        sockets: (index, descriptor).
    """
    way.setblocking(False)
    try:
        async with asyncio.timeout(SOCKETS_TIMEOUT_S):
            await _send(way, hello(), array("i"))
            for start in range(0, len(sockets), SOCKETS_PER_PACKET):
                part = sockets[start : start + SOCKETS_PER_PACKET]
                indices = struct.pack(f"={len(part)}I", *(index for index, _ in part))
                await _send(way, indices, array("i", [descriptor for _, descriptor in part]))
    except TimeoutError:
        log.error("the worker that follows does not take the sockets of flows: they get new ones")
    except OSError as exc:
        log.error("the sockets of flows do not reach the worker that follows (%s): they get new ones", exc.strerror)
    finally:
        for _, descriptor in sockets:
            os.close(descriptor)


def hello() -> bytes:
    """Return the first packet."""
    own = Hello()
    return _HELLO.pack(_MAGIC, own.version, own.oldest)


async def _send(way: socket.socket, data: bytes, descriptors: "array[int]") -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if descriptors else []
    while True:
        try:
            way.sendmsg([data], rights)
        except BlockingIOError:
            await writable(way)
        except OSError as exc:
            if exc.errno != errno.ETOOMANYREFS:  # too many are in flight for this user (unix(7))
                raise
            await asyncio.sleep(BUSY_STEP_S)
        else:
            return


async def receive_sockets(way: socket.socket) -> dict[int, int]:
    """Return descriptors by index, all that arrive before the other end closes, or times out."""
    found: dict[int, int] = {}
    way.setblocking(False)
    try:
        async with asyncio.timeout(SOCKETS_TIMEOUT_S):
            while True:
                try:
                    data, descriptors = _receive(way)
                except BlockingIOError:
                    await readable(way)
                    continue
                if not data:
                    break
                if data.startswith(_MAGIC) and not descriptors:
                    if fault := _fault(data):
                        log.error("the sockets of flows are refused, the flows get new ones: %s", fault)
                        break
                    continue
                indices = struct.unpack(f"={len(data) // 4}I", data)
                # At the descriptor limit the last ones are missing (MSG_CTRUNC).
                found.update(zip(indices, descriptors, strict=False))
    except TimeoutError:
        log.error("the worker before this one does not send the sockets of all flows: the others get new ones")
    except OSError as exc:
        log.error("the sockets of flows do not all come (%s): the others get new ones", exc.strerror)
    return found


def _fault(data: bytes) -> str:
    """Return why a hello does not fit; "" if it does."""
    _, version, oldest = _HELLO.unpack_from(data.ljust(_HELLO.size, b"\0"))
    return mismatch(Hello(version, oldest))


def _receive(way: socket.socket) -> tuple[bytes, list[int]]:
    """Return the data and descriptors of one packet; none at the end."""
    data, controls, _, _ = way.recvmsg(
        SOCKETS_PER_PACKET * 4, socket.CMSG_SPACE(SOCKETS_PER_PACKET * 4), socket.MSG_CMSG_CLOEXEC
    )
    descriptors = array("i")
    for _, _, content in controls:
        descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, descriptors.tolist()
