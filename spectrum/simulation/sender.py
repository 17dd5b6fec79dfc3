"""Sends frames from an interface, hundreds of thousands per second: many in each call of sendmmsg(2)."""

import ctypes
import os
import socket
import time
from collections.abc import Callable
from typing import Self

import numpy as np

from spectrum.simulation.frames import LONGEST_BYTES, Frames

BATCH = 512
# The least number of frames per call; fewer are sent later, which is cheaper.
FEW = 32
_WAIT_S = 0.0005
# Constants of linux/socket.h and linux/if_packet.h.
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
# struct mmsghdr and struct iovec of 64-bit machines.
_MESSAGE = np.dtype(
    [
        ("name", "u8"),
        ("name_bytes", "u8"),
        ("parts", "u8"),
        ("part_count", "u8"),
        ("control", "u8"),
        ("control_bytes", "u8"),
        ("flags", "u8"),
        ("sent", "u8"),
    ]
)
_PART = np.dtype([("at", "u8"), ("bytes", "u8")])


class FrameSender:
    """Sends frames repeatedly, in order.

    Args:
        interface: Its name.
        frames: The frames; referenced as long as this object exists.

    Raises:
        OSError: If there is no such interface, or the kernel refuses.
    """

    def __init__(self, interface: str, frames: Frames) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._frames = frames
        self._heads = np.ascontiguousarray(frames.heads)
        self._zeros = np.zeros(LONGEST_BYTES, np.uint8)
        self._parts = np.zeros((len(frames), 2), _PART)
        self._parts["at"][:, 0] = self._heads.ctypes.data + np.arange(len(frames)) * self._heads.shape[1]
        self._parts["at"][:, 1] = self._zeros.ctypes.data
        self._parts["bytes"][:, 0] = frames.head_bytes
        self._parts["bytes"][:, 1] = frames.frame_bytes - frames.head_bytes
        self._messages = np.zeros(len(frames), _MESSAGE)
        self._messages["parts"] = self._parts.ctypes.data + np.arange(len(frames)) * 2 * _PART.itemsize
        self._messages["part_count"] = 1 + (self._parts["bytes"][:, 1] > 0)
        self._next = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.bind((interface, 0))
            self._socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        except OSError:
            self._socket.close()
            raise

    def send(self, count: int) -> int:
        """Send the next frames; return how many were sent. Frames without room at the interface are lost."""
        sent = 0
        while count > 0:
            many = min(count, BATCH, len(self._frames) - self._next)
            at = self._messages.ctypes.data + self._next * _MESSAGE.itemsize
            went = self._library.sendmmsg(self._socket.fileno(), ctypes.c_void_p(at), many, 0)
            if went <= 0:
                went = 1  # the first one was refused
            else:
                sent += went
            self._next = (self._next + went) % len(self._frames)
            count -= went
        return sent

    def run(self, per_s: float, seconds: float, told: Callable[[int], None] | None = None) -> int:
        """Send at a rate; return how many were sent.

        Args:
            per_s: Frames per second; 0 for as many as possible.
            seconds: The duration.
            told: Called some ten times a second with the number sent so far.
        """
        began = said = time.monotonic()
        asked = sent = 0
        while (now := time.monotonic()) < began + seconds:
            due = int((now - began) * per_s) - asked if per_s else BATCH
            if due < FEW and due < per_s * _WAIT_S * 2:
                time.sleep(_WAIT_S)
                continue
            due = min(due, BATCH)
            sent += self.send(due)
            asked += due
            if told is not None and now - said > 0.1:
                said = now
                told(sent)
        return sent

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pin(core: int) -> None:
    """Pin this thread to one core, if the machine has as many.

    The kernel processes a frame sent on a veth or on the loopback on the sender's core, the receiving end's programs
    included.
    """
    if core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})
