"""Workers whose supervisor is gone, as far as the next one sees them."""

import os
import socket

from spectrum.core.measures import WorkerMeasures
from spectrum.core.snapshot import ListenerKey
from spectrum.plane.channel import Channel, Measures, Release, Released, Sockets, Take, Veteran
from spectrum.plane.handover import Waiting, send_sockets, waiting_path

KEY = ListenerKey("127.0.0.1", 80)


class Orphan:
    """One of them; a silent one says who it is when it is told to."""

    def __init__(self, control, number=1, pid=4711, silent=False):
        self.number, self.pid, self.silent = number, pid, silent
        self.messages = []
        self.channel = None
        self.flows = os.memfd_create("flows")
        self.waiting = Waiting(waiting_path(control, pid), self.taken)

    def taken(self, sock):
        self.channel = Channel(sock, self.received, lambda: self.messages.append(None))

    def received(self, message, descriptors):
        self.messages.append(message)
        match message:
            case Take() if not self.silent:
                self.introduce()
            case Release():
                if descriptors:
                    with socket.socket(fileno=descriptors[0]) as way:
                        send_sockets(way, [(9, os.memfd_create("flow"))])
                self.channel.send(Released())
                self.channel.send(Measures(0, False, {}, WorkerMeasures(), 3, False))

    def introduce(self):
        with socket.socket() as listener:
            self.channel.send(Sockets([KEY]), [listener.fileno()])
        self.channel.send(Veteran(self.number, self.pid), [self.flows])

    def close(self):
        self.waiting.close()
        os.close(self.flows)
        if self.channel is not None:
            self.channel.close()
