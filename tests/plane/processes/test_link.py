import asyncio
import socket

import pytest

from spectrum.link.messages import Ask, Started
from spectrum.link.takeover import Drain, Take
from spectrum.link.waiting import waiting_names
from spectrum.plane.processes.link import Link, LinkEvent
from tests.plane.workers import Supervisor, pair


async def test_messages_come_in_order_and_then_the_news_that_the_supervisor_is_gone(tmp_path):
    supervisor, link = pair(tmp_path / "control")
    link.send(Started())
    await supervisor.wait_for(Started)
    supervisor.channel.send(Ask(1))
    supervisor.channel.send(Drain(2))
    supervisor.channel.close()
    assert [await link.receive() for _ in range(3)] == [(Ask(1), []), (Drain(2), []), LinkEvent.LOST]
    assert link.gone and not link.send(Started())
    link.close()


async def test_the_next_supervisor(tmp_path):
    """It has to wait until the worker waits for it, and has what it says received on the same link."""
    control = tmp_path / "control"
    supervisor, link = pair(control)
    supervisor.channel.close()
    assert await link.receive() is LinkEvent.LOST
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(*waiting_names(control))
    following = Supervisor(sock)
    following.channel.send(Take())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(link.receive(), 0.05)
    link.wait()
    assert await link.receive() == (Take(), [])
    link.send(Started())
    await following.wait_for(Started)
    link.close()
    assert waiting_names(control) == []


async def test_news_once_the_supervisor_has_read_what_waited(tmp_path):
    supervisor, link = pair(tmp_path / "control", buffer_bytes=8192)
    asyncio.get_running_loop().remove_reader(supervisor.channel.fileno())
    while not link.waits:
        link.send(Started())
    asyncio.get_running_loop().add_reader(supervisor.channel.fileno(), supervisor.channel._read)
    assert await link.receive() is LinkEvent.SENT
    assert not link.waits
    link.close()
    supervisor.channel.close()


async def test_what_a_supervisor_did_not_read_can_be_had_back(tmp_path):
    supervisor, link = pair(tmp_path / "control", buffer_bytes=8192)
    asyncio.get_running_loop().remove_reader(supervisor.channel.fileno())
    count = 0
    while not link.waits:
        link.send(Ask(count))
        count += 1
    link.send(Ask(count))
    supervisor.channel.close()
    assert await link.receive() is LinkEvent.LOST
    assert link.undelivered()[-1] == Ask(count)
    link.wait_no_longer()
    assert waiting_names(tmp_path / "control") == []
    link.close()


async def test_a_worker_that_could_not_wait_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.link.waiting.waiting_prefix", lambda control: "x" * 200)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(OSError, match="path too long"):
        Link(theirs, tmp_path)
