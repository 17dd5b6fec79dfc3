import asyncio
import os
import socket

import pytest

from spectrum.core.life.service import ServiceLife
from spectrum.kernel.descriptors import close_all
from spectrum.link.flow_sockets import send_sockets
from spectrum.link.messages import Configure, Inherit
from spectrum.link.takeover import Drain, Names, Release
from spectrum.plane.processes.arrival import arrive
from tests.plane.workers import memory, pair


async def test_what_comes_before_the_first_snapshot(tmp_path):
    """The sockets of flows are there before it, whatever comes meanwhile."""
    supervisor, link = pair(tmp_path / "control")
    message, files = memory()
    supervisor.channel.send(message, files)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        supervisor.channel.send(Inherit(), [theirs.fileno()])
    supervisor.channel.send(Names({"a": ("192.0.2.1",)}))
    supervisor.channel.send(Configure(4), files[:2])

    async def hand_over():
        with ours:
            await send_sockets(ours, [(7, os.dup(files[0]))])

    arrival, _ = await asyncio.gather(arrive(link, ServiceLife()), hand_over())
    assert arrival.memory == message and len(arrival.files) == len(files)
    assert list(arrival.inherited) == [7]
    assert [message for message, _ in arrival.told] == [Names({"a": ("192.0.2.1",)}), Configure(4)]
    assert arrival.generation == 4
    close_all([*files, *arrival.files, *arrival.inherited.values(), *arrival.told[-1][1]])
    link.close()
    supervisor.channel.close()


@pytest.mark.parametrize("message", [Drain(3), Release(0), None])
async def test_one_that_has_served_nothing_ends_at_once(tmp_path, message):
    supervisor, link = pair(tmp_path / "control")
    life = ServiceLife()
    if message is None:
        supervisor.channel.close()
    else:
        supervisor.channel.send(message)
    assert await asyncio.wait_for(arrive(link, life), 10) is None
    assert life.ended
    link.close()
    supervisor.channel.close()


async def test_sockets_of_flows_that_were_lost_are_not_awaited(tmp_path):
    supervisor, link = pair(tmp_path / "control")
    message, files = memory()
    for told in (message, Inherit(), Configure(1)):
        supervisor.channel.send(told)
    arrival = await asyncio.wait_for(arrive(link, ServiceLife()), 10)
    assert arrival.inherited == {}
    close_all(files)
    link.close()
    supervisor.channel.close()
