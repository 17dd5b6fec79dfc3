"""What supervisors say to each other is frozen, as in `test_takeover`: keys may be added, and none may change."""

import asyncio
import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.snapshot import ListenerKey
from spectrum.link.succession import (
    MAX_DESCRIPTORS,
    PACKET_BYTES,
    GivenWorker,
    Handover,
    SuccessionError,
    SupervisorSocket,
    check_hello,
    packets,
    predecessor_hello,
    successor_hello,
)
from spectrum.link.versions import BEFORE_HELLO, VERSION, Hello

KEY = ListenerKey("192.0.2.1", 443)
GIVEN = Handover(
    [GivenWorker(1, 17, False, 10, 11, Hello(2, 1))],
    {0: 12},
    [(1, KEY, 13)],
    {"/run/x": 14},
    {"a": ("192.0.2.7",)},
    helper=15,
    api={"127.0.0.1:8787": 16},
)
# What is given, as it is sent, and its descriptors.
GOLDEN = [
    (b'{"worker": {"place": 1, "pid": 17, "relieved": false, "version": 2, "oldest": 1}}', [10, 11]),
    (b'{"flows": 0}', [12]),
    (b'{"listeners": [[1, ["192.0.2.1", 443, "tcp", false, ""]]]}', [13]),
    (b'{"server": "/run/x"}', [14]),
    (b'{"api": "127.0.0.1:8787"}', [16]),
    (b'{"helper": true}', [15]),
    (b'{"names": {"a": ["192.0.2.7"]}}', []),
]


def test_greetings_are_frozen():
    """`protocol` and `waits` are what a predecessor of version 1 looks at."""
    assert packets(successor_hello()) == [b'{"protocol": 1, "waits": true, "version": 2, "oldest": 1}']
    assert packets(predecessor_hello()) == [b'{"version": 2, "oldest": 1}']


def test_a_predecessor_of_version_1_refuses_who_does_not_understand_it(monkeypatch):
    monkeypatch.setattr("spectrum.link.succession.Hello", lambda: Hello(4, 3))
    assert successor_hello()["protocol"] == 3


def test_what_is_given_is_frozen():
    assert [(b"".join(packets(message)), descriptors) for message, descriptors in GIVEN.messages()] == GOLDEN
    taken = Handover()
    for data, descriptors in GOLDEN:
        taken.take(json.loads(data), descriptors)
    assert taken == GIVEN


def test_what_version_1_gives():
    taken = Handover()
    taken.take({"worker": {"place": 1, "pid": 17, "relieved": True}}, [10, 11])
    assert taken.workers == [GivenWorker(1, 17, True, 10, 11, BEFORE_HELLO)]
    taken.take({"workers": [7, 9]}, [])
    assert taken.legacy == [7, 9]
    check_hello({"worker": {"place": 1}})  # it says no hello


def test_what_a_later_version_gives_besides_is_passed_over():
    taken, descriptor = Handover(), os.memfd_create("x")
    taken.take({"more": {"x": 1}}, [descriptor])
    assert taken == Handover()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    check_hello({"version": VERSION + 1, "oldest": VERSION, "more": 1})
    with pytest.raises(SuccessionError, match=f"speaks version {VERSION + 1} .* restart instead"):
        check_hello({"version": VERSION + 1, "oldest": VERSION + 1})


def test_listeners_fit_what_one_packet_may_carry():
    many = Handover(listeners=[(0, KEY, descriptor) for descriptor in range(600)])
    assert [len(descriptors) for _, descriptors in many.messages()] == [MAX_DESCRIPTORS, MAX_DESCRIPTORS, 100, 0]


@given(st.dictionaries(st.text(), st.text()), st.sampled_from([1, 7, PACKET_BYTES]))
def test_messages_arrive_as_they_were(message, packet):
    async def talk():
        ours, theirs = map(SupervisorSocket, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        try:

            async def send():
                await ours.send(message)
                await ours.send({"next": "one"})

            async def receive():
                return [await theirs.receive() for _ in range(2)]

            assert (await asyncio.gather(receive(), send()))[0] == [(message, []), ({"next": "one"}, [])]
        finally:
            ours.close()
            theirs.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spectrum.link.succession.PACKET_BYTES", packet)
        asyncio.run(talk())
