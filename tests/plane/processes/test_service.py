import asyncio
import gc
import socket
from contextlib import suppress

import msgspec
import pytest

from spectrum.link.messages import Applied, Started
from spectrum.link.takeover import Events, Measures, Names, Release, Released, Take, TakenOver
from spectrum.link.versions import VERSION, Hello
from spectrum.link.waiting import waiting_names
from spectrum.plane.worker import work
from tests.plane.workers import Supervisor, configure, echo, pair, proxy


@pytest.mark.stands_for_a_process
async def test_waits_for_a_supervisor_and_then_no_longer(free_port, tmp_path, monkeypatch, caplog):
    """A session that is open has its time once nobody came who could take it over."""
    monkeypatch.setattr("spectrum.plane.processes.service.ORPHAN_WAIT_S", 0.3)
    monkeypatch.setattr("spectrum.plane.processes.service.ORPHAN_DRAIN_S", 0.3)
    control = tmp_path / "control.sock"
    port, origin = free_port(), free_port()
    supervisor, link = pair(control)

    async def supervise():
        await supervisor.wait_for(Started)
        configure(supervisor.channel, proxy(port, origin))
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
        writer, _ = await asyncio.wait_for(asyncio.gather(supervise(), work(link)), 10)
        writer.close()
    assert f"refused: the other process speaks version {VERSION + 1} of the link" in caplog.text
    assert waiting_names(control) == []
    gc.unfreeze()


@pytest.mark.stands_for_a_process
async def test_records_wait_for_the_next_supervisor_with_a_relieved_worker(free_port, tmp_path):
    """Its last session ends while the one supervisor has gone and the other one has not come."""
    control = tmp_path / "control.sock"
    port, origin = free_port(), free_port()
    first, link = pair(control)

    async def take():
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(*waiting_names(control))
        supervisor = Supervisor(sock)
        supervisor.channel.send(Take())
        await supervisor.wait_for(TakenOver)
        return supervisor

    async def supervise():
        await first.wait_for(Started)
        configure(first.channel, proxy(port, origin))
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
        await asyncio.wait_for(asyncio.gather(supervise(), work(link)), 20)
