import asyncio
import os
import resource
import socket
import struct

import pytest

from spectrum.link.flow_sockets import hello, receive_sockets, send_sockets
from spectrum.link.versions import VERSION
from spectrum.tasks import Tasks


def test_packets_are_frozen():
    """See `test_takeover`; the receiver reads what is beyond the two versions of a later hello as nothing."""
    assert hello().hex() == "535046530200000001000000"


async def test_what_is_sent_is_frozen():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        await send_sockets(ours, [(5, os.memfd_create("flow")), (70000, os.memfd_create("flow"))])
        assert theirs.recv(100) == hello()
        data, (one, other), _, _ = socket.recv_fds(theirs, 100, 10)
    assert data.hex() == "0500000070110100"
    os.close(one)
    os.close(other)


async def test_sockets_of_a_version_that_does_not_fit_are_refused(caplog):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.send(struct.pack("=4sII4s", b"SPFS", VERSION + 1, VERSION + 1, b"more"))
        assert await receive_sockets(theirs) == {}
    assert f"the other process speaks version {VERSION + 1} of the link, and this one version {VERSION}" in caplog.text


@pytest.mark.parametrize("says_hello", [True, False])
async def test_sockets_of_other_versions_that_fit(says_hello):
    """A version before hello begins with indices."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        with ours:
            if says_hello:
                ours.send(struct.pack("=4sII4s", b"SPFS", VERSION + 1, VERSION, b"more"))
            socket.send_fds(ours, [struct.pack("=I", 7)], [theirs.fileno()])
        found = await receive_sockets(theirs)
    assert list(found) == [7]
    os.close(found[7])


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


async def test_a_peer_that_hangs_delays_nothing_else(monkeypatch, caplog):
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
