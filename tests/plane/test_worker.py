"""A worker process alone, with the test as its supervisor."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from spectrum.control.access import load_access
from spectrum.control.configuration.loader import load_text
from spectrum.control.processes.workers import memory_file
from spectrum.core.difference import difference
from spectrum.core.features import compile_snapshot
from spectrum.core.tls.settings import CertificateSettings, TlsFiles
from spectrum.kernel.sockets import open_listeners
from spectrum.link.channel import Channel
from spectrum.link.messages import DECODER, Applied, Ask, Configure, Refused, Started
from spectrum.link.snapshots import encode_difference, encode_snapshot
from spectrum.link.takeover import Drain, Events, Measures, Names, Release, Released, Sockets, Take, Veteran
from spectrum.link.versions import VERSION, Hello
from spectrum.link.waiting import waiting_names
from spectrum.plane.memory import SharedMemory
from spectrum.plane.worker import RESERVED_DESCRIPTORS, Worker
from tests.control.keepers import until


class Supervisor:
    def __init__(self, channel_socket):
        self.messages = []
        self.changed = asyncio.Event()
        self.channel = Channel(channel_socket, DECODER, self.received, lambda: None)

    def received(self, message, descriptors):
        self.messages.append(message)
        self.changed.set()

    async def wait_for(self, kind, condition=lambda message: True):
        async with asyncio.timeout(10):
            while True:
                for message in self.messages:
                    if isinstance(message, kind) and condition(message):
                        return message
                self.changed.clear()
                await self.changed.wait()


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


def configure(channel, text):
    """Send all that a worker needs to serve a file."""
    config = load_text(text, "x")
    access, prefixes = load_access(config.access_rules)
    snapshot = compile_snapshot(config, 3, access=access)
    flows, shared = os.memfd_create("flows"), SharedMemory(1, 64)
    channel.send(shared.message(0), [flows, *shared.descriptors])
    os.close(flows)
    shared.close()
    send_sockets(channel, snapshot)
    tell(channel, snapshot, prefixes)


@asynccontextmanager
async def worker(text):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "spectrum.plane.worker", str(theirs.fileno())]
    process = await asyncio.create_subprocess_exec(*command, pass_fds=[theirs.fileno()])
    theirs.close()
    supervisor = Supervisor(ours)
    configure(supervisor.channel, text)
    await supervisor.wait_for(Applied)
    try:
        yield supervisor, process
    finally:
        supervisor.channel.close()
        await asyncio.wait_for(process.wait(), 10)


def started(messages):
    """How many sessions of app x began."""
    return sum(m.apps["x"].started for m in messages if isinstance(m, Measures) and "x" in m.apps)


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def test_serves_reports_and_drains(free_port):
    port, origin = free_port(), free_port()
    text = f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}"
    server = await asyncio.start_server(echo, "127.0.0.1", origin)
    async with server, worker(text) as (supervisor, process):
        assert (await supervisor.wait_for(Applied)).generation == 3
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        supervisor.channel.send(Ask(9))
        answer = await supervisor.wait_for(Measures, lambda m: m.number == 9)
        assert (answer.last, answer.sessions, answer.apps["x"].started) == (True, 1, 1)
        for number in (signal.SIGINT, signal.SIGHUP):  # the terminal's, meant for the supervisor
            process.send_signal(number)
        supervisor.channel.send(Drain(10))
        supervisor.channel.send(Drain(10))
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        events = await supervisor.wait_for(Events)
        assert (events.count, events.lines.count(b"\n")) == (1, 1)


async def test_ends_when_its_supervisor_vanishes(free_port):
    text = f"apps: {{x: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    async with worker(text) as (supervisor, process):
        supervisor.channel.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0


@pytest.mark.stands_for_a_process
async def test_waits_for_a_supervisor_and_then_no_longer(free_port, tmp_path, monkeypatch, caplog):
    """A session that is open has its time once nobody came who could take it over."""
    monkeypatch.setattr("spectrum.plane.worker.ORPHAN_WAIT_S", 0.3)
    monkeypatch.setattr("spectrum.plane.worker.ORPHAN_DRAIN_S", 0.3)
    control = tmp_path / "control.sock"
    port, origin = free_port(), free_port()
    text = f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor = Supervisor(ours)

    async def supervise():
        await supervisor.wait_for(Started)
        configure(supervisor.channel, text)
        await supervisor.wait_for(Applied)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
        supervisor.channel.close()
        (await asyncio.open_connection("127.0.0.1", port))[1].close()  # it still serves
        while names := waiting_names(control):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as later, suppress(OSError):
                later.connect(*names)
                later.send(msgspec.msgpack.encode(Hello(VERSION + 1, VERSION + 1)))
                await asyncio.sleep(0.02)
        return writer

    server = await asyncio.start_server(echo, "127.0.0.1", origin)
    async with server:
        writer, _ = await asyncio.wait_for(asyncio.gather(supervise(), Worker(theirs, control).run()), 10)
        writer.close()
    assert f"refused: the other process speaks version {VERSION + 1} of the link" in caplog.text
    assert waiting_names(control) == []
    gc.unfreeze()


@pytest.mark.stands_for_a_process
async def test_a_supervisor_that_does_not_read_is_sent_no_more(free_port, monkeypatch):
    """Counts add up in the worker meanwhile, and arrive once it reads again."""
    monkeypatch.setattr("spectrum.plane.worker.REPORT_INTERVAL_S", 0.002)
    port = free_port()
    text = f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    supervisor, worker = Supervisor(ours), Worker(theirs)
    loop = asyncio.get_running_loop()

    async def visits(count):
        for _ in range(count):
            with suppress(ConnectionResetError):  # its origin refuses
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await reader.read()

    async def supervise():
        configure(supervisor.channel, text)
        await supervisor.wait_for(Applied)
        loop.remove_reader(ours.fileno())
        await until(lambda: worker._channel.waits)
        for _ in range(3):
            await visits(10)
            await asyncio.sleep(0.1)  # fifty reports
            assert len(worker._channel._waiting) < 10
        loop.add_reader(ours.fileno(), supervisor.channel._read)
        await until(lambda: started(supervisor.messages) == 30)
        supervisor.channel.send(Drain(1))

    await asyncio.wait_for(asyncio.gather(supervise(), worker.run()), 20)
    gc.unfreeze()


@pytest.mark.stands_for_a_process
async def test_records_wait_for_the_next_supervisor_with_a_relieved_worker(free_port, tmp_path):
    """Its last session ends while the one supervisor has gone and the other one has not come."""
    control = tmp_path / "control.sock"
    port, origin = free_port(), free_port()
    text = f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    async def take():
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(*waiting_names(control))
        supervisor = Supervisor(sock)
        supervisor.channel.send(Take())
        await supervisor.wait_for(Veteran)
        return supervisor

    async def supervise():
        first = Supervisor(ours)
        await first.wait_for(Started)
        configure(first.channel, text)
        await first.wait_for(Applied)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await first.wait_for(Measures, lambda measures: measures.sessions == 1)
        first.channel.send(Names({"ANY a tcp 1-1": ("192.0.2.1",)}))
        first.channel.send(Names({"ANY b tcp 1-1": ("192.0.2.2",)}))
        first.channel.leave()
        second = await take()
        # The next supervisor may have a name server that is silent.
        await second.wait_for(Names, lambda names: len(names.addresses) == 2)
        second.channel.send(Release(0))
        await second.wait_for(Released)
        second.channel.leave()
        writer.close()
        await asyncio.sleep(1)  # it would have ended by now
        third = await take()
        assert (await third.wait_for(Events)).count == 1

    server = await asyncio.start_server(echo, "127.0.0.1", origin)
    async with server:
        await asyncio.wait_for(asyncio.gather(supervise(), Worker(theirs, control).run()), 20)


async def test_a_snapshot_that_cannot_be_served_is_refused_and_the_one_before_goes_on(free_port):
    port, new, origin = free_port(), free_port(), free_port()

    def app(name, port):
        return f"{name}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}"

    async def answers(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        return reader, writer

    server = await asyncio.start_server(echo, "127.0.0.1", origin)
    async with server, worker(f"apps: {{{app('x', port)}}}") as (supervisor, process):
        channel = supervisor.channel
        reader, writer = await answers(port)
        before = set(os.listdir(f"/proc/{process.pid}/fd"))
        good = compile_snapshot(load_text(f"apps: {{{app('y', new)}}}", "x"), 4)
        broken = CertificateSettings("c", b"none", b"none", b"", ())
        bad = msgspec.structs.replace(good, tls=TlsFiles((broken,)))
        prefixes = load_access({})[1]
        # In the middle, when listeners of the one before may be gone already.
        for generation in (4, 5):
            send_sockets(channel, good)
            tell(channel, msgspec.structs.replace(bad, generation=generation), prefixes)
            refused = await supervisor.wait_for(Refused, lambda r, g=generation: r.generation == g)
            assert refused.serves == 3 and refused.why
        # The sockets, or the files, did not arrive.
        for keys, files in ((good.listener_keys(), [0, 0]), ([], [])):
            channel.send(Sockets(keys))
            channel.send(Configure(6), files)
            refused = await supervisor.wait_for(Refused, lambda r: r.generation == 6)
            assert refused.why.startswith("out of descriptors: ") and refused.serves == 3
            supervisor.messages.clear()
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        (await answers(port))[1].close()
        with pytest.raises(ConnectionRefusedError):
            await answers(new)
        await until(lambda: set(os.listdir(f"/proc/{process.pid}/fd")) == before)
        send_sockets(channel, good)
        tell(channel, good, prefixes)
        assert (await supervisor.wait_for(Applied)).generation == 4
        (await answers(new))[1].close()
        # What differs from another generation than it serves; and what it cannot go by.
        both = compile_snapshot(load_text(f"apps: {{{app('y', new)}, {app('x', port)}}}", "x"), 5)
        supervisor.messages.clear()
        change = difference(good, both)
        tell_difference(channel, msgspec.structs.replace(change, before=3))
        assert (await supervisor.wait_for(Refused)).why == "it was told what differs from generation 3, and serves 4"
        supervisor.messages.clear()
        broken = msgspec.structs.replace(change.apps[0], proxy_protocol="none")
        added = compile_snapshot(load_text(f"apps: {{{app('x', port)}}}", "x"), 5)
        send_sockets(channel, added)
        tell_difference(channel, msgspec.structs.replace(change, apps=(broken,)))
        refused = await supervisor.wait_for(Refused)
        assert refused.serves == 4 and refused.why
        (await answers(new))[1].close()
        with pytest.raises(ConnectionRefusedError):
            await answers(port)
        supervisor.messages.clear()
        send_sockets(channel, added)
        tell_difference(channel, change)
        assert (await supervisor.wait_for(Applied)).generation == 5
        (await answers(new))[1].close()
        (await answers(port))[1].close()
        supervisor.messages.clear()
        tell_difference(channel, difference(both, msgspec.structs.replace(good, generation=6)))
        assert (await supervisor.wait_for(Applied)).generation == 6
        with pytest.raises(ConnectionRefusedError):
            await answers(port)
        await until(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) == len(before))
        writer.close()
        channel.send(Drain(10))
        tell(channel, msgspec.structs.replace(good, generation=7), prefixes)
        assert (await supervisor.wait_for(Refused)).why == "it is draining"


async def test_reloads_at_the_descriptor_limit_let_nobody_in_and_end_nothing(free_port):
    """Each one let a client in, from what is kept free, until the worker could not go on."""
    port, origin = free_port(), free_port()
    text = f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]}}}}"

    async def send(generation):
        tell(supervisor.channel, msgspec.structs.replace(snapshot, generation=generation), load_access({})[1])
        kinds = (Applied, Refused)
        return await supervisor.wait_for(kinds, lambda answer: answer.generation == generation)

    server = await asyncio.start_server(echo, "127.0.0.1", origin)
    async with server, worker(text) as (supervisor, process):
        snapshot = compile_snapshot(load_text(text, "x"), 3)
        clients = [await asyncio.open_connection("127.0.0.1", port)]
        await supervisor.wait_for(Measures, lambda measures: measures.sessions == 1)
        descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors + RESERVED_DESCRIPTORS, hard))
        for generation in range(4, 9):
            assert isinstance(await send(generation), Applied)
            clients.append(await asyncio.open_connection("127.0.0.1", port))
        assert (await supervisor.wait_for(Measures, lambda measures: measures.stalled)).sessions == 1
        for free in range(3):
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors + free, hard))
            answer = await send(10 + free)
            assert isinstance(answer, Applied) or answer.serves, answer
        reader, writer = clients[0]
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        for _, writer in clients:
            writer.close()
