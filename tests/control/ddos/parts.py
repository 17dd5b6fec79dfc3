"""A process that stands for the detector, and a helper that stands for the kernel."""

import os
import sys
from pathlib import Path

import msgspec

from spectrum.kernel.descriptors import memory_file
from spectrum.kernel.pins import PinError
from spectrum.link.helper import Counted, Detecting, Filtered, SetDetection, SetDrops, ShowCounts
from spectrum.link.messages import WorkerRules

RULES = msgspec.msgpack.Decoder(WorkerRules)
STUB = [sys.executable, "-P", str(Path(__file__).with_name("stub.py"))]


class FakeWorker:
    """A worker that keeps what it is told; `rules` are those of the last message."""

    def __init__(self, number):
        self.number, self.told, self.rules, self.files = number, [], [], 0

    def tell(self, message, descriptors=()):
        self.told.append(message)
        self.files = len(descriptors)
        self.rules = []
        if message.size:
            self.rules = RULES.decode(os.pread(descriptors[2], message.size, 0))


class KernelsHelper:
    """Takes everything, unless `refuses` says why not."""

    def __init__(self):
        self.asked, self.refuses, self.counts = [], "", {}

    def has_pins(self):
        return True

    def ask(self, request, kind, descriptors=()):
        self.asked.append(request)
        if self.refuses:
            raise PinError(self.refuses)
        match request:
            case SetDetection(0, 0):
                return Detecting({}), []
            case SetDetection():
                return Detecting({}), [memory_file("looks", b"")]
            case SetDrops():
                return Filtered({}), []
            case ShowCounts():
                return Counted(self.counts), []

    def last(self, kind):
        return next((one for one in reversed(self.asked) if isinstance(one, kind)), None)

    def count(self, kind):
        return sum(isinstance(one, kind) for one in self.asked)


def descriptors():
    return len(os.listdir("/proc/self/fd"))
