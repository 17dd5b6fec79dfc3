"""Workers alone, with the test as their supervisor."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress

from spectrum.control.access import load_access
from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot
from spectrum.kernel.descriptors import close_all, memory_file
from spectrum.kernel.sockets import open_listeners
from spectrum.link.channel import Channel
from spectrum.link.messages import DECODER, Applied, Configure
from spectrum.link.snapshots import encode_difference, encode_snapshot
from spectrum.link.takeover import Sockets
from spectrum.plane.memory import SharedMemory
from spectrum.plane.processes.link import Link


class Supervisor:
    """What a worker says to it; `descriptors` counts those that came with it."""

    def __init__(self, channel_socket):
        self.messages = []
        self.descriptors = 0
        self.changed = asyncio.Event()
        self.channel = Channel(channel_socket, DECODER, self.received, lambda: None)

    def received(self, message, descriptors):
        self.messages.append(message)
        self.descriptors += len(descriptors)
        close_all(descriptors)
        self.changed.set()

    async def wait_for(self, kind, condition=lambda message: True):
        async with asyncio.timeout(10):
            while True:
                for message in self.messages:
                    if isinstance(message, kind) and condition(message):
                        return message
                self.changed.clear()
                await self.changed.wait()


def pair(control, buffer_bytes=0):
    """A supervisor, and the link to it of a worker in this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if buffer_bytes:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
    return Supervisor(ours), Link(theirs, control)


def tell(channel, snapshot, prefixes):
    """Have a worker go on with a snapshot."""
    files = [memory_file("snapshot", encode_snapshot(snapshot)), memory_file("prefixes", prefixes)]
    channel.send(Configure(snapshot.generation), files)
    for descriptor in files:
        os.close(descriptor)


def tell_difference(channel, change):
    """Have a worker go on with what differs."""
    file = memory_file("difference", encode_difference(change))
    channel.send(Configure(change.after, change.before), [file])
    os.close(file)


def send_sockets(channel, snapshot):
    """Send a worker the listening sockets of a snapshot."""
    for key in snapshot.listener_keys():
        (sock,) = open_listeners(key.address, key.port, 1, key.transport)
        channel.send(Sockets([key]), [sock.fileno()])
        sock.close()


def memory():
    """What a worker is told first of all: a message, and the descriptors of its files."""
    shared = SharedMemory(1, 64)
    return shared.message(0), [os.memfd_create("flows"), *shared.descriptors]


def proxy(port, origin, name="x"):
    """A file with one app."""
    return (
        f"apps: {{{name}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}"
    )


def configure(channel, text):
    """Send all that a worker needs to serve a file."""
    config = load_text(text, "x")
    access, prefixes = load_access(config)
    snapshot = compile_snapshot(config, 3, access=access)
    message, files = memory()
    channel.send(message, files)
    for descriptor in files:
        os.close(descriptor)
    send_sockets(channel, snapshot)
    tell(channel, snapshot, prefixes)


@asynccontextmanager
async def worker(text):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    errors = os.dup(2)
    command = [sys.executable, "-m", "spectrum.plane.worker", str(theirs.fileno()), "/tmp/no-such/control", str(errors)]
    process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno(), errors])
    theirs.close()
    os.close(errors)
    supervisor = Supervisor(ours)
    configure(supervisor.channel, text)
    await supervisor.wait_for(Applied)
    try:
        yield supervisor, process
    finally:
        supervisor.channel.close()
        while process.returncode is None:  # SIGTERM ends it once it has noticed that there is no supervisor
            with suppress(ProcessLookupError):  # a thread of asyncio reaps it, and tells this one later
                os.kill(process.pid, signal.SIGTERM)  # not `terminate`, which may reap it before asyncio does
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 0.1)


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()
