import asyncio
import os
import resource
import socket
import time

import msgspec
import pytest

from spectrum.core.records.measures import AppMeasures, WorkerMeasures
from spectrum.core.snapshot import ListenerKey
from spectrum.link.channel import MAX_WAITING_BYTES, PACKET_OVERHEAD_BYTES, TURN_S, Channel
from spectrum.link.messages import DECODER, Ask
from spectrum.link.takeover import Drain, Events, Measures, Names, Sockets
from spectrum.link.versions import BEFORE_HELLO, OLDEST, VERSION, Hello, mismatch
from spectrum.plane.outbox import EVENT_BYTES
from spectrum.plane.processes.sender import COLLECTED_BYTES


class End:
    def __init__(self, sock):
        self.messages = []
        self.closed = asyncio.Event()
        self.channel = Channel(sock, DECODER, lambda *given: self.messages.append(given), self.closed.set)

    async def wait_for(self, count):
        async with asyncio.timeout(5):
            while len(self.messages) < count:  # noqa: ASYNC110 - a test has no event to wait for
                await asyncio.sleep(0.001)


def pair():
    return [End(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]


async def test_messages_arrive_in_order_and_typed():
    one, other = pair()
    sent = [Ask(1), Names({"A x": ("192.0.2.1",)}), Drain(1.5), Events(2, b"a\nb\n")]
    sent.append(Measures(1, True, {"x": AppMeasures(started=1)}, WorkerMeasures(1), 5, False))
    for message in sent:
        assert one.channel.send(message)
    await other.wait_for(len(sent))
    assert [message for message, _ in other.messages] == sent
    one.channel.close()
    await asyncio.wait_for(other.closed.wait(), 5)
    assert other.channel.send(Ask(2)) is False


async def test_descriptors_travel():
    one, other = pair()
    read, write = os.pipe()
    one.channel.send(Sockets([ListenerKey("", 1)]), [write])
    os.close(write)
    await other.wait_for(1)
    (_, (received,)) = other.messages[0]
    os.write(received, b"x")
    assert os.read(read, 1) == b"x"
    assert not os.get_inheritable(received)
    for fd in (read, received):
        os.close(fd)
    one.channel.close()
    other.channel.close()


async def test_what_waits_is_sent_later_and_the_rest_dropped():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one = End(ours)
    read, write = os.pipe()
    big = Events(1, bytes(50_000))
    results = [one.channel.send(big, droppable=True) for _ in range(MAX_WAITING_BYTES // 50_000 + 20)]
    assert results[-1] is False
    assert one.channel.send(Sockets([ListenerKey("", 1)]), [write])  # not droppable
    os.close(write)
    other = End(theirs)
    await other.wait_for(results.count(True) + 1)
    message, (received,) = other.messages[-1]
    assert message == Sockets([ListenerKey("", 1)])
    os.close(received)
    assert os.read(read, 1) == b""  # no copy of the descriptor is left
    os.close(read)
    one.channel.close()
    other.channel.close()
    one.channel.close()  # twice is once


async def test_small_messages_that_wait_are_bounded_too():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one = End(ours)
    sent = 0
    while one.channel.send(Ask(1), droppable=True):
        sent += 1
    assert sent < MAX_WAITING_BYTES / PACKET_OVERHEAD_BYTES + 1000
    one.channel.close()
    theirs.close()


LATER = msgspec.msgpack.encode(["Hello", VERSION + 1, VERSION + 1, "more"])


async def test_each_end_says_hello_first():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours, DECODER, lambda *given: None, lambda: None)
    channel.send(Ask(1))
    assert channel.peer is None
    assert [msgspec.msgpack.decode(theirs.recv(100)) for _ in range(2)] == [["Hello", VERSION, OLDEST], ["Ask", 1]]
    theirs.send(msgspec.msgpack.encode(Hello(VERSION + 1, VERSION)))
    await asyncio.sleep(0.01)
    assert channel.peer == Hello(VERSION + 1, VERSION)
    channel.close()
    theirs.close()


async def test_a_version_that_does_not_fit_is_refused(caplog):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one = End(ours)
    theirs.send(LATER)
    descriptor = os.memfd_create("x")
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(theirs, [msgspec.msgpack.encode(Ask(1))], [descriptor])
    await asyncio.wait_for(one.closed.wait(), 5)
    assert one.messages == []
    versions = f"version {VERSION + 1} of the link, and this one version {VERSION} (down to {OLDEST})"
    assert versions in one.channel.refusal and f"refused: the other process speaks {versions}" in caplog.text
    assert one.channel.closed and not one.channel.send(Ask(1))
    assert len(os.listdir("/proc/self/fd")) == before - 1, "its own socket"
    with pytest.raises(ConnectionResetError):  # it left without reading all; said once (unix_release_sock)
        theirs.recv(100)
    assert msgspec.msgpack.decode(theirs.recv(100))[0] == "Hello", "the other end learns why, too"
    os.close(descriptor)
    theirs.close()


async def test_a_version_before_hello(monkeypatch):
    """It begins with something else."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one = End(ours)
    theirs.send(msgspec.msgpack.encode(Ask(1)))
    await one.wait_for(1)
    assert one.channel.peer == BEFORE_HELLO
    one.channel.close()
    theirs.close()
    # Some day it is too old.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr("spectrum.link.channel.mismatch", lambda peer: mismatch(peer, Hello(9, 2)))
    one = End(ours)
    theirs.send(msgspec.msgpack.encode(Ask(1)))
    await asyncio.wait_for(one.closed.wait(), 5)
    assert one.messages == []
    theirs.close()


@pytest.mark.parametrize(("met", "says_hello"), [(BEFORE_HELLO, False), (Hello(), True)])
async def test_a_channel_that_another_process_had_before(met, says_hello):
    """What the other end said to that one holds; what it would not understand it is not told."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    messages = []
    channel = Channel(ours, DECODER, lambda *given: messages.append(given), lambda: None, peer=met)
    channel.send(Ask(1))
    assert (msgspec.msgpack.decode(theirs.recv(100))[0] == "Hello") == says_hello
    theirs.send(msgspec.msgpack.encode(Ask(2)))
    await asyncio.sleep(0.01)
    assert messages == [(Ask(2), [])]
    assert channel.peer == met
    channel.close()
    theirs.close()


async def test_a_version_that_another_process_heard_is_checked_too():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(ours, DECODER, pytest.fail, lambda: None, peer=Hello(VERSION + 1, VERSION + 1))
    theirs.send(msgspec.msgpack.encode(Ask(2)))
    await asyncio.sleep(0.01)
    assert channel.closed and channel.refusal
    theirs.close()


async def test_what_another_version_says_is_passed_over(caplog):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other = End(theirs)
    descriptor = os.memfd_create("x")
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(ours, [b"\x91\xa5Never"], [descriptor])
    ours.send(msgspec.msgpack.encode(Ask(4)))
    await other.wait_for(1)
    assert other.messages == [(Ask(4), [])]
    assert "cannot be read" in caplog.text
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(descriptor)
    ours.close()
    other.channel.close()


async def test_all_that_a_worker_collects_fits_the_buffer():
    """Each message that waits instead costs both ends a wake-up."""
    one, other = pair()
    for number in range(COLLECTED_BYTES // EVENT_BYTES):
        assert one.channel.send(Events(number, bytes(EVENT_BYTES)))
    assert not one.channel.waits
    one.channel.close()
    other.channel.close()


async def test_closing_drops_what_waits():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one = End(ours)
    read, write = os.pipe()
    while one.channel.send(Events(1, bytes(50_000)), droppable=True):
        pass
    one.channel.send(Sockets([]), [write])
    os.close(write)
    one.channel.close()
    assert os.read(read, 1) == b""
    os.close(read)
    theirs.close()


async def test_who_leaves_has_received_all_that_was_sent():
    one, other = pair()
    assert one.channel.send(Ask(1))
    other.channel.leave()  # before its loop has read
    assert [message for message, _ in other.messages] == [Ask(1)]
    assert not one.channel.gone
    assert one.channel.send(Ask(2)) is False, "it stays here"
    assert one.channel.gone
    await asyncio.wait_for(one.closed.wait(), 5)
    assert not other.closed.is_set()


# The loop may say that there is room before it says that there is an end.
@pytest.mark.parametrize("room_first", [False, True])
async def test_what_was_not_delivered_is_known_at_the_end(room_first):
    one, other = pair()
    sent = 0
    while one.channel.send(Events(sent, b"x" * 60000), droppable=True):
        sent += 1
    other.channel.leave()
    if room_first:
        one.channel._write()
    received = [message.count for message, _ in other.messages]
    await asyncio.wait_for(one.closed.wait(), 5)
    assert received + [message.count for message in one.channel.undelivered()] == list(range(sent))
    assert len(received) < sent


async def test_what_was_sent_by_one_that_left_without_reading_is_received():
    one, other = pair()
    assert one.channel.send(Ask(1))
    for number in range(3):
        assert other.channel.send(Ask(number))
    other.channel.close()  # before its loop has read, nor has the other one's
    await asyncio.wait_for(one.closed.wait(), 5)
    assert [message for message, _ in one.messages] == [Ask(number) for number in range(3)]


async def test_descriptors_beyond_the_limit_are_lost_and_none_leaks(caplog):
    one, other = pair()
    files = [os.memfd_create("x") for _ in range(3)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd"))
    lowest = os.dup(files[0])  # all that is free below the limit
    os.close(lowest)
    one.channel.send(Sockets([ListenerKey("", 1)] * 3), files)
    one.channel.send(Ask(1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
    try:
        await other.wait_for(2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert other.messages == [(Sockets([ListenerKey("", 1)] * 3), []), (Ask(1), [])]
    assert "out of descriptors" in caplog.text
    assert len(os.listdir("/proc/self/fd")) == before
    for descriptor in files:
        os.close(descriptor)
    one.channel.close()
    other.channel.close()


async def test_what_is_sent_when_there_is_room_again():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    drained = asyncio.Event()
    channel = Channel(ours, DECODER, lambda message, fds: None, lambda: None, drained.set)
    while not channel.waits:
        channel.send(Events(1, bytes(50_000)))
    assert not drained.is_set()
    other = End(theirs)
    await asyncio.wait_for(drained.wait(), 5)
    assert not channel.waits
    channel.close()
    other.channel.close()


async def test_a_pause_leaves_the_rest_where_it_is():
    one, other = pair()
    other.channel.pause()
    other.channel.pause()
    for number in range(3):
        one.channel.send(Ask(number))
    await asyncio.sleep(0.02)
    assert other.messages == []
    taken = other.channel._received

    def take_one(message, descriptors):
        taken(message, descriptors)
        other.channel.pause()

    other.channel._received = take_one
    for number in range(3):
        other.channel.resume()
        await other.wait_for(number + 1)
        await asyncio.sleep(0.02)
        assert [message for message, _ in other.messages] == [Ask(n) for n in range(number + 1)]
    one.channel.close()
    other.channel.resume()
    await asyncio.wait_for(other.closed.wait(), 5)
    other.channel.pause()
    other.channel.resume()


async def test_the_loop_turns_while_many_messages_wait():
    one, other = pair()
    turns = []

    def take(message, descriptors):
        other.messages.append((message, descriptors))
        time.sleep(TURN_S)
        asyncio.get_running_loop().call_soon(lambda: turns.append(len(other.messages)))

    other.channel._received = take
    for number in range(6):
        assert one.channel.send(Ask(number))
    await other.wait_for(6)
    assert [message.number for message, _ in other.messages] == list(range(6))
    assert turns[:5] == [1, 2, 3, 4, 5], "each took the time of a turn"
    one.channel.close()
    other.channel.close()
