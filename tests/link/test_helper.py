"""The line between supervisor and helper: messages of any length, with any number of descriptors.

They are frozen, as in `test_takeover`, whose rules for fields and messages hold here too: after an upgrade a helper is
older than its supervisor. What an older helper would misread takes another `PROTOCOL`.
"""

import os
import socket
import threading
from ipaddress import ip_network

import msgspec
import pytest

from spectrum.core.filter_rules import FilterRule
from spectrum.core.flow_programs.places import LOG, JudgedPlace
from spectrum.core.tcp_protection.policy import Policies, Policy
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.filter.drops import Drops, pack_prefixes
from spectrum.kernel.filter.flow_programs import FlowProgramCode, FlowPrograms, pack_places
from spectrum.kernel.filter.rules import pack_rule
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.filter.tcp_protection import pack_policies
from spectrum.link import helper
from spectrum.link.helper import (
    Bound,
    ChangeBinding,
    Counted,
    Detecting,
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
    OpenLine,
    RemoveFilter,
    RemoveOffload,
    SetBindings,
    SetDetection,
    SetDrops,
    SetFilter,
    SetFlowPrograms,
    SetOffload,
    SetTcpProtection,
    ShowBindings,
    ShowCounts,
    UndoFilter,
)

# As `pack_prefixes` and `pack_rule` make them: the supervisor packs, and the helper of another version writes them to
# the kernel as they are.
DROPS = Drops(
    pack_prefixes([ip_network("192.0.2.0/24")]),
    {"list": pack_prefixes([ip_network("2001:db8::/32")])},
    {
        "rule": pack_rule(
            FilterRule(
                ip_network("198.51.100.0/24"),
                ip_network("203.0.113.7/32"),
                protocol=(6, 6),
                source_port=(1, 2),
                destination_port=(3, 4),
                length=(5, 6),
                ttl=(7, 8),
                tcp_flags=(3, 2),
                fragment=False,
                packets_per_second=1000,
                action="limit",
            )
        )
    },
)
DROPS_BYTES = (
    "94c4147800000000000000000000000000ffffc000020081a46c697374c4142000000020010db800000000000000000000000081a47275"
    "6c65c4d000000000000000000000ffffc6336400ffffffffffffffffffffffffffffff0000000000000000000000ffffcb007107ffffff"
    "ffffffffffffffffffffffffff000000000000000000000000000000000000000000000000000000000000000000000000000000004042"
    "0f000000000000000000000000000000000000000000010101010101010101010101010101010000000000000000010002000300040005"
    "0006000000ffff0000ffff06000600070008000203000000000200000000000000000000000000000000000000000080"
)
# What is sent, and its bytes.
GOLDEN = [
    (Greet(), "91a54772656574"),
    (Greeting(1, 4242), "93a84772656574696e6701cd1092"),
    (OpenLine(), "91a7416e6f74686572"),
    (
        SetFilter(["eth0"], FilterSettings(1, 2, 3, 4, True, 5, True), DROPS),
        "94a953657446696c74657291a46574683087b27061636b6574735f7065725f7365636f6e6401a5627572737402af73796e735f7065725f"
        "7365636f6e6403a973796e5f627572737404ab73796e5f636f6f6b696573c3ad73616d706c655f6f6e655f696e05a76472795f72756ec3"
        + DROPS_BYTES,
    ),
    (SetDrops("ddos", DROPS), "93a853657444726f7073a464646f73" + DROPS_BYTES),
    (UndoFilter(), "91aa556e646f46696c746572"),
    (KeepFilter(), "91aa4b65657046696c746572"),
    (RemoveFilter(), "91ac52656d6f766546696c746572"),
    (
        SetTcpProtection(
            pack_policies(Policies((Policy("enabled", 1000, 10, True),), (1, 1), ({(96, 0): 1}, {}, {}, {})))
        ),
        "92b053657454637050726f74656374696f6e94c418020000000100000040420f00000000008096980000000000c428800000000000000000"
        "00000000000000000000000000000001000000000000000000000000000000019401000100",
    ),
    (
        SetFlowPrograms(
            FlowPrograms(
                {"a": FlowProgramCode(bytes.fromhex("b7000000000000009500000000000000"), True)},
                pack_places([JudgedPlace(ip_network("192.0.2.0/24"), 9000, 1 | LOG)]),
            )
        ),
        "92af536574466c6f7750726f6772616d739281a16192c410b7000000000000009500000000000000c3c420980000001104282300"
        "000000000000000000ffffc00002000101000098000000",
    ),
    (
        SetBindings([("a", "tcp")], [("a", "udp", "2001:db8::/32", 443)], ["a"]),
        "94ab53657442696e64696e67739192a161a37463709194a161a3756470ad323030313a6462383a3a2f3332cd01bb91a161",
    ),
    (ChangeBinding(True, ("a", "tcp", "::/0", 0)), "93ad4368616e676542696e64696e67c394a161a3746370a43a3a2f3000"),
    (ShowBindings(), "91ac53686f7742696e64696e6773"),
    (SetOffload(["lo"], 5), "93aa5365744f66666c6f616491a26c6f05"),
    (RemoveOffload(), "91ad52656d6f76654f66666c6f6164"),
    (EnlargeQueues(), "91ad456e6c61726765517565756573"),
    (SetDetection(100, 1000, b"\1\2"), "94ac536574446574656374696f6e64cd03e8c4020102"),
    (Detecting({"passed": 1024}), "92a9446574656374696e6781a6706173736564cd0400"),
    (Done(False), "92a4446f6e65c2"),
    (NotDone("no"), "92a74e6f74446f6e65a26e6f"),
    (Filtered({"list a": 1}), "92a846696c746572656481a66c697374206101"),
    (Bound({"counts": {}}), "92a5426f756e6481a6636f756e747380"),
    (Offloaded(True), "92a94f66666c6f61646564c3"),
    (ShowCounts("filter"), "92aa53686f77436f756e7473a666696c746572"),
    (Counted({"dropped": (1, 2)}), "92a7436f756e74656481a764726f70706564920102"),
]


@pytest.fixture
def ends():
    """Two ends, and the socket of each."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lines = HelperLine(one), HelperLine(other)
    for line in lines:
        line.limit(5)
    yield *lines, one, other
    for line in lines:
        line.close()


DECODERS = {of: msgspec.msgpack.Decoder(of) for of in (helper.Request, helper.Answer)}


def decoder_of(message):
    return DECODERS[helper.Request if isinstance(message, helper.Request) else helper.Answer]


def kind(value):
    return type(value).__name__ if not isinstance(value, str) else ""


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=kind)
def test_what_crosses_versions_is_frozen(message, golden):
    assert msgspec.msgpack.encode(message).hex() == golden
    assert decoder_of(message).decode(bytes.fromhex(golden)) == message


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=kind)
def test_what_a_later_version_adds_is_ignored(message, golden):
    later = [*msgspec.msgpack.decode(bytes.fromhex(golden)), {"more": 1}]
    assert decoder_of(message).decode(msgspec.msgpack.encode(later)) == message


def test_no_message_is_without_golden_bytes():
    assert {type(message) for message, _ in GOLDEN} == {*helper.Request.__args__, *helper.Answer.__args__}


def test_the_version_is_frozen():
    """A supervisor does not use a helper of another one, so an upgrade without root would lose its helper."""
    assert helper.PROTOCOL == 3


def test_packets_are_frozen(ends):
    """A message in a packet, one with more descriptors than go with a packet, and one that is a memory file."""
    supervisor, _, _, other = ends
    supervisor.send(Greet())
    assert other.recv(100).hex() == "00" + "91a54772656574"
    with open(os.devnull, "rb") as file:
        supervisor.send(Greet(), [file.fileno()] * (helper.PACKET_DESCRIPTORS + 1))
    for packet in ("01", "00" + "91a54772656574"):
        data, received, _, _ = socket.recv_fds(other, 100, helper.PACKET_DESCRIPTORS)
        close_all(received)
        assert data.hex() == packet
    supervisor.send(NotDone("x" * helper.MAX_PACKET_BYTES))
    data, (memory,), _, _ = socket.recv_fds(other, 100, 2)
    with open(memory, "rb") as file:
        assert (data.hex(), os.pread(file.fileno(), 9, 0).hex()) == ("02", "92a74e6f74446f6e65")


@pytest.mark.parametrize("size", [0, 1, helper.MAX_PACKET_BYTES - 40, helper.MAX_PACKET_BYTES, 3_000_000])
@pytest.mark.parametrize("count", [0, 1, 250, 251, 600])
def test_requests_and_answers_arrive_as_they_were(ends, size, count):
    supervisor, worker, *_ = ends
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
    supervisor, worker, *_ = ends
    supervisor.limit(0.05)
    with pytest.raises(LineError, match="it does not answer"):
        supervisor.ask(Greet())
    worker.close()
    with pytest.raises(LineError, match="it is gone"):
        supervisor.ask(Greet())


def test_the_end(ends):
    supervisor, worker, *_ = ends
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
def test_invalid_requests(ends, packet, error, says):
    """Its descriptors are closed."""
    _, worker, sock, _ = ends
    before = len(os.listdir("/proc/self/fd"))
    given, kept = os.pipe()
    socket.send_fds(sock, [packet], [given] if packet[0] != 2 else [])
    with pytest.raises(error, match=says):
        worker.listen()
    close_all((given, kept))
    assert len(os.listdir("/proc/self/fd")) == before


def test_too_much_at_once(ends, monkeypatch):
    supervisor, worker, *_ = ends
    monkeypatch.setattr(helper, "MAX_BODY_BYTES", 200_000)
    supervisor.send(SetDrops("ddos", Drops(bytes(200_001))))
    with pytest.raises(LineError, match="more than 200000 bytes"):
        worker.listen()
    monkeypatch.setattr(helper, "MAX_DESCRIPTORS", 300)
    with open(os.devnull, "rb") as file:
        supervisor.send(Greet(), [file.fileno()] * 600)
    with pytest.raises(LineError, match="more than 300 descriptors"):
        worker.listen()
