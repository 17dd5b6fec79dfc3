"""Workers whose supervisor is gone, as far as the next one sees them."""

import os
import socket

from spectrum.core.records.measures import WorkerMeasures
from spectrum.core.snapshot import ListenerKey
from spectrum.link.channel import Channel
from spectrum.link.flow_sockets import send_sockets
from spectrum.link.messages import DECODER
from spectrum.link.takeover import Measures, Release, Released, Sockets, Take, TakenOver
from spectrum.link.waiting import Waiting
from spectrum.tasks import Tasks

KEY = ListenerKey("127.0.0.1", 80)


class Orphan:
    """One of them, in this process; a silent one says who it is when it is told to."""

    def __init__(self, control, number=1, silent=False):
        self.number, self.silent = number, silent
        self.messages = []
        self.channel = None
        self.flows = os.memfd_create("flows")
        self.waiting = Waiting(control, self.taken)
        self.waiting.begin()
        self.tasks = Tasks()

    def taken(self, sock):
        self.channel = Channel(sock, DECODER, self.received, lambda: self.messages.append(None))

    def received(self, message, descriptors):
        self.messages.append(message)
        match message:
            case Take() if not self.silent:
                self.introduce()
            case Release():
                self.tasks.start(self.release(*descriptors), "release")

    async def release(self, way=-1):
        if way >= 0:
            with socket.socket(fileno=way) as sock:
                await send_sockets(sock, [(9, os.memfd_create("flow"))])
        self.channel.send(Released())
        self.channel.send(Measures(0, False, {}, WorkerMeasures(), 3, False))

    def introduce(self):
        with socket.socket() as listener:
            self.channel.send(Sockets([KEY]), [listener.fileno()])
        self.channel.send(TakenOver(self.number, 1), [self.flows])  # pid 1 it is not

    def close(self):
        self.waiting.close()
        os.close(self.flows)
        if self.channel is not None:
            self.channel.close()
