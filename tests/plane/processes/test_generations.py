import asyncio
import gc
import os
import resource

import msgspec
import pytest

from spectrum.control.access import load_access
from spectrum.control.configuration.loader import load_text
from spectrum.core.configuration.config import Config
from spectrum.core.difference import difference
from spectrum.core.features import compile_snapshot
from spectrum.core.life.service import ServiceEvent
from spectrum.core.tls.settings import CertificateSettings, TlsFiles
from spectrum.kernel.descriptors import memory_file
from spectrum.kernel.sockets import open_listeners
from spectrum.link.messages import Applied, Configure, Refused
from spectrum.link.snapshots import encode_snapshot
from spectrum.link.takeover import Drain, Measures, Sockets
from spectrum.plane.processes.planes import RESERVED_DESCRIPTORS
from tests.control.keepers import until
from tests.plane.processes.parts import process_parts
from tests.plane.workers import echo, proxy, send_sockets, tell, tell_difference, worker


async def test_a_snapshot_that_cannot_be_served_is_refused_and_the_one_before_continues(free_port):
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
        prefixes = load_access(Config())[1]
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

    async def send(generation):
        tell(supervisor.channel, msgspec.structs.replace(snapshot, generation=generation), load_access(Config())[1])
        kinds = (Applied, Refused)
        return await supervisor.wait_for(kinds, lambda answer: answer.generation == generation)

    server = await asyncio.start_server(echo, "127.0.0.1", origin)
    async with server, worker(proxy(port, origin)) as (supervisor, process):
        snapshot = compile_snapshot(load_text(proxy(port, origin), "x"), 3)
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


def files_of(snapshot):
    """The memory files with a snapshot, and with its access rules."""
    return [memory_file("snapshot", encode_snapshot(snapshot)), memory_file("prefixes", load_access(Config())[1])]


@pytest.mark.stands_for_a_process
async def test_what_is_served_and_what_is_not(tmp_path, free_port, caplog):
    """Each snapshot is answered, and what is refused leaves nothing behind."""
    port, other = free_port(), free_port()
    first = compile_snapshot(load_text(proxy(port, 1), "x"), 1)
    second = compile_snapshot(load_text(proxy(other, 1), "x"), 2)
    broken = CertificateSettings("c", b"none", b"none", b"", ())

    async with process_parts(tmp_path / "control") as parts:

        async def answer(snapshot, sockets=True):
            for key in snapshot.listener_keys() if sockets else ():
                (sock,) = open_listeners(key.address, key.port, 1, key.transport)
                parts.generations.take_sockets([key], [sock.detach()])
            parts.generations.configure(Configure(snapshot.generation), files_of(snapshot))
            given = snapshot.generation
            return await parts.supervisor.wait_for((Applied, Refused), lambda told: told.generation == given)

        assert not parts.life.has_served
        bad = msgspec.structs.replace(first, generation=9, tls=TlsFiles((broken,)))
        assert (await answer(bad)).serves == 0
        assert isinstance(await answer(first), Applied) and parts.life.has_served
        before = len(os.listdir("/proc/self/fd"))
        bad = msgspec.structs.replace(second, generation=3, tls=TlsFiles((broken,)))
        refused = await answer(bad)
        assert refused.serves == 1 and "Error" in refused.why
        assert len(os.listdir("/proc/self/fd")) == before
        parts.generations.take_sockets(second.listener_keys(), [])
        refused = await answer(msgspec.structs.replace(second, generation=4), sockets=False)
        assert refused.why.startswith("out of descriptors: ") and refused.serves == 1
        assert isinstance(await answer(second), Applied)
        assert len(os.listdir("/proc/self/fd")) == before
        assert list(parts.generations.descriptors) == second.listener_keys()
        parts.generations.close()
        assert parts.generations.descriptors == {}
        parts.life.handle(ServiceEvent.DRAIN)
        assert (await answer(msgspec.structs.replace(second, generation=5))).why == "it is draining"
    assert "generation 3 is not served" in caplog.text
    gc.unfreeze()


@pytest.mark.stands_for_a_process
async def test_one_that_cannot_go_back_says_so(tmp_path, free_port, monkeypatch):
    snapshot = compile_snapshot(load_text(proxy(free_port(), 1), "x"), 1)
    async with process_parts(tmp_path / "control") as parts:
        for key in snapshot.listener_keys():
            (sock,) = open_listeners(key.address, key.port, 1, key.transport)
            parts.generations.take_sockets([key], [sock.detach()])
        parts.generations.configure(Configure(1), files_of(snapshot))
        await parts.supervisor.wait_for(Applied)
        monkeypatch.setattr(parts.planes, "serve", lambda *_: 1 / 0)
        parts.generations.configure(Configure(2), files_of(snapshot))
        refused = await parts.supervisor.wait_for(Refused)
        assert (refused.why, refused.serves) == ("ZeroDivisionError: division by zero", 0)
    gc.unfreeze()
