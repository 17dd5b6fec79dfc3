"""A worker process."""

import asyncio
import gc
import os
import signal

import pytest

from spectrum.kernel.descriptors import close_all
from spectrum.link.messages import (
    Applied,
    Ask,
    Configure,
    HealthUpdate,
    Offloading,
    Refused,
    Started,
    TicketKeysUpdate,
)
from spectrum.link.takeover import Drain, Events, Measures, Names, RecordsKept, Take
from spectrum.plane.worker import work
from tests.control.keepers import until
from tests.plane.workers import configure, echo, memory, pair, proxy, worker


async def test_serves_reports_and_drains(free_port):
    port, origin = free_port(), free_port()
    server = await asyncio.start_server(echo, "127.0.0.1", origin)
    async with server, worker(proxy(port, origin)) as (supervisor, process):
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


async def test_ends_by_sigterm_without_a_supervisor(free_port):
    """With one it does not."""
    async with worker(proxy(free_port(), 1)) as (supervisor, process):
        process.terminate()
        supervisor.channel.send(Ask(1))
        await supervisor.wait_for(Measures, lambda measures: measures.number == 1)
        assert process.returncode is None
    assert process.returncode == 0


@pytest.mark.stands_for_a_process
async def test_without_memory_that_it_can_use_it_refuses(tmp_path):
    """The reason is the supervisor's to tell."""
    supervisor, link = pair(tmp_path / "control")
    message, files = memory()
    supervisor.channel.send(message, files[:3])
    supervisor.channel.send(Configure(7), [])
    close_all(files)
    await asyncio.wait_for(work(link), 10)
    refused = await supervisor.wait_for(Refused)
    assert (refused.generation, refused.serves) == (7, 0)
    assert refused.why.startswith("the memory that workers share cannot be used: ")


@pytest.mark.stands_for_a_process
async def test_goes_by_each_message(tmp_path, free_port, caplog):
    """One that it does not know, or that fails, is logged; it goes on with the next."""
    port = free_port()
    supervisor, link = pair(tmp_path / "control")

    async def supervise():
        await supervisor.wait_for(Started)
        configure(supervisor.channel, proxy(port, 1))
        await supervisor.wait_for(Applied)
        for message in (
            TicketKeysUpdate([bytes(80)]),
            Offloading(1, 8),
            Names({"ANY a tcp 1-1": ("192.0.2.1",)}),
            HealthUpdate({}, {"p": 0.1}),
            RecordsKept(1),
            Started(),
            Take(),
            Ask(5),
        ):
            supervisor.channel.send(message)
        await supervisor.wait_for(Measures, lambda measures: measures.number == 5)
        supervisor.channel.send(Drain(1))

    await asyncio.wait_for(asyncio.gather(supervise(), work(link)), 20)
    lost = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert lost == ["a message of the supervisor is lost: Started", "a message of the supervisor is lost: Take"]
    gc.unfreeze()


@pytest.mark.stands_for_a_process
async def test_continues_without_its_supervisor(tmp_path, free_port):
    """SIGTERM ends it then."""
    port = free_port()
    supervisor, link = pair(tmp_path / "control")

    async def supervise():
        configure(supervisor.channel, proxy(port, 1))
        await supervisor.wait_for(Applied)
        supervisor.channel.close()
        await until(lambda: link._waiting.begun)
        os.kill(os.getpid(), signal.SIGTERM)

    await asyncio.wait_for(asyncio.gather(supervise(), work(link)), 20)
    gc.unfreeze()
