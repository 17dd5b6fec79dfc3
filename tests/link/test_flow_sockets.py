import asyncio
import os
import resource
import socket

import pytest

from spectrum.link.flow_sockets import receive_sockets, send_sockets
from spectrum.tasks import Tasks


@pytest.mark.parametrize("count", [0, 1, 250, 600])
async def test_sockets_arrive_with_their_indices(count):
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened = []
    for number in range(count):
        descriptor = os.memfd_create(f"flow-{number}")
        os.write(descriptor, b"%d" % number)
        opened.append((number * 3, descriptor))

    async def send():
        with ours:
            await send_sockets(ours, opened)

    with theirs:
        found, _ = await asyncio.gather(receive_sockets(theirs), send())
    assert list(found) == [number * 3 for number in range(count)]
    for index, descriptor in found.items():
        assert os.pread(descriptor, 10, 0) == b"%d" % (index // 3)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_nobody_receives(caplog):
    """The sockets are closed all the same."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    before = len(os.listdir("/proc/self/fd"))
    descriptor = os.memfd_create("flow")
    with ours:
        await send_sockets(ours, [(1, descriptor)])
        assert len(os.listdir("/proc/self/fd")) == before
    assert "do not reach the worker that follows" in caplog.text


async def test_a_peer_that_stands_still_holds_nobody(monkeypatch, caplog):
    """The loop turns meanwhile, and either end gives up."""
    monkeypatch.setattr("spectrum.link.flow_sockets.SOCKETS_TIMEOUT_S", 0.2)
    tasks = Tasks()
    for silent in (receive_sockets, lambda way: send_sockets(way, [(n, os.memfd_create("flow")) for n in range(2000)])):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        turns = []

        async def turn(turns=turns):
            while True:
                turns.append(1)
                await asyncio.sleep(0.01)

        task = tasks.start(turn(), "turn")
        assert not await silent(ours)
        task.cancel()
        assert len(turns) > 1
        ours.close()
        theirs.close()
    assert "does not send" in caplog.text and "does not take" in caplog.text


async def test_a_receiver_at_its_descriptor_limit():
    """Those that did not come are missing, and no others are taken for them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened = [os.memfd_create(f"flow-{number}") for number in range(20)]
    with ours:
        await send_sockets(ours, list(enumerate(opened)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Not what /proc/self/fd leaves: a thread in accept() has a number there already, without a file.
    free = [os.dup(theirs.fileno()) for _ in range(6)]
    for descriptor in free:
        os.close(descriptor)
    room_for_five = max(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room_for_five, hard))
    try:
        with theirs:
            found = await receive_sockets(theirs)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 0 < len(found) < 20
    for index, descriptor in found.items():
        assert os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"/memfd:flow-{index} ")
        os.close(descriptor)
