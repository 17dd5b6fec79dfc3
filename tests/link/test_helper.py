"""The line between supervisor and helper: messages of any length, with any number of descriptors."""

import os
import socket
import threading

import msgspec
import pytest

from spectrum.kernel.descriptors import close_all
from spectrum.kernel.filter import Drops, FilterSettings
from spectrum.link import helper
from spectrum.link.helper import (
    Another,
    Bound,
    ChangeBinding,
    Done,
    EnlargeQueues,
    Filtered,
    Greet,
    Greeting,
    HelperLine,
    KeepFilter,
    LineError,
    NotDone,
    NotUnderstood,
    Offloaded,
    RemoveFilter,
    RemoveOffload,
    SetBindings,
    SetDrops,
    SetFilter,
    SetOffload,
    ShowBindings,
    UndoFilter,
)

# As they are on the line; a helper that was started by another version says and understands the same.
FROZEN = [
    (Greet(), "91a54772656574"),
    (Another(), "91a7416e6f74686572"),
    (UndoFilter(), "91aa556e646f46696c746572"),
    (KeepFilter(), "91aa4b65657046696c746572"),
    (RemoveFilter(), "91ac52656d6f766546696c746572"),
    (SetDrops("ddos", Drops(b"g", {"a": b"x"}, {"r": b"y"})), None),
    (SetFilter(["eth0"], FilterSettings(1, 2, 3, 4, True, 5, True), Drops()), None),
    (SetBindings([("a", "tcp")], [("a", "tcp", "::/0", 0)], ["a"]), None),
    (ChangeBinding(True, ("a", "tcp", "::/0", 0)), None),
    (ShowBindings(), "91ac53686f7742696e64696e6773"),
    (SetOffload(["lo"], 5), "93aa5365744f66666c6f616491a26c6f05"),
    (RemoveOffload(), "91ad52656d6f76654f66666c6f6164"),
    (EnlargeQueues(), "91ad456e6c61726765517565756573"),
    (Offloaded(True), "92a94f66666c6f61646564c3"),
    (Bound({"counts": {}}), None),
    (Greeting(1, 7), "93a84772656574696e670107"),
    (Done(False), "92a4446f6e65c2"),
    (NotDone("no"), "92a74e6f74446f6e65a26e6f"),
    (Filtered({"list a": 1}), "92a846696c746572656481a66c697374206101"),
]


@pytest.fixture
def ends():
    """Two ends, and the first one's socket."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lines = HelperLine(one), HelperLine(other)
    for line in lines:
        line.limit(5)
    yield *lines, one
    for line in lines:
        line.close()


@pytest.mark.parametrize(("message", "data"), FROZEN, ids=lambda value: type(value).__name__)
def test_messages_are_as_before(message, data):
    encoded = msgspec.msgpack.encode(message)
    assert msgspec.msgpack.decode(encoded, type=type(message)) == message
    assert data in (None, encoded.hex())


@pytest.mark.parametrize("size", [0, 1, helper.MAX_PACKET_BYTES - 40, helper.MAX_PACKET_BYTES, 3_000_000])
@pytest.mark.parametrize("count", [0, 1, 250, 251, 600])
def test_requests_and_answers_arrive_as_they_were(ends, size, count):
    supervisor, worker, _ = ends
    request = SetDrops("ddos", Drops(bytes(size)))
    with open(os.devnull, "rb") as file:
        heard = []

        def answer():
            heard.append(worker.listen())
            worker.send(NotDone("x" * size), [file.fileno()] * count)

        thread = threading.Thread(target=answer)
        thread.start()
        answered, received = supervisor.ask(request, [file.fileno()] * count)
        thread.join(10)
        ((asked, with_it),) = heard
        assert (asked, answered) == (request, NotDone("x" * size))
        assert [os.path.sameopenfile(file.fileno(), one) for one in (*with_it, *received)] == [True] * (2 * count)
        close_all((*with_it, *received))


def test_no_answer(ends):
    supervisor, worker, _ = ends
    supervisor.limit(0.05)
    with pytest.raises(LineError, match="it does not answer"):
        supervisor.ask(Greet())
    worker.close()
    with pytest.raises(LineError, match="it is gone"):
        supervisor.ask(Greet())


def test_the_end(ends):
    supervisor, worker, _ = ends
    supervisor.close()
    with pytest.raises(LineError, match="it has ended"):
        worker.listen()


@pytest.mark.parametrize(
    ("packet", "error", "says"),
    [
        (b"\0\xc1", NotUnderstood, "not understood"),
        (b"\0" + msgspec.msgpack.encode(["Later", 1]), NotUnderstood, "not understood"),
        (b"\0" + msgspec.msgpack.encode(Done()), NotUnderstood, "not understood"),
        (b"\0" + msgspec.msgpack.encode(["SetDrops", 7, []]), NotUnderstood, "not understood"),
        (b"\2", LineError, "unknown kind"),
        (b"\3", LineError, "unknown kind"),
        (bytes(helper.MAX_PACKET_BYTES + 2), LineError, "lost"),
    ],
)
def test_what_is_no_request(ends, packet, error, says):
    """Its descriptors are closed."""
    _, worker, sock = ends
    before = len(os.listdir("/proc/self/fd"))
    given, kept = os.pipe()
    socket.send_fds(sock, [packet], [given] if packet[0] != 2 else [])
    with pytest.raises(error, match=says):
        worker.listen()
    close_all((given, kept))
    assert len(os.listdir("/proc/self/fd")) == before


def test_too_much_at_once(ends, monkeypatch):
    supervisor, worker, _ = ends
    monkeypatch.setattr(helper, "MAX_BODY_BYTES", 200_000)
    supervisor.send(SetDrops("ddos", Drops(bytes(200_001))))
    with pytest.raises(LineError, match="more than 200000 bytes"):
        worker.listen()
    monkeypatch.setattr(helper, "MAX_DESCRIPTORS", 300)
    with open(os.devnull, "rb") as file:
        supervisor.send(Greet(), [file.fileno()] * 600)
    with pytest.raises(LineError, match="more than 300 descriptors"):
        worker.listen()
