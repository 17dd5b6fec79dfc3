"""The program on listening sockets: against the engine's matcher, and in the kernel."""

import socket
import struct
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from spectrum.core.filter_rules import FilterRule, SetTerm, set_key
from spectrum.core.filter_rules import PacketFacts as Facts
from spectrum.engine.strangers import Strangers
from spectrum.kernel import syn_filter as made
from spectrum.kernel.filter.rules import masked, pack_rule, pack_sets
from spectrum.kernel.syn_filter import PASSED_ONE_IN, BlockRule, attach, datagram_blocks, detach, syn_filter
from tests.engine.lookouts import Watched
from tests.properties import examples

SYN, ACK = 0x02, 0x10
NOW = 1_000
NEVER_LET = (1 << 32) // PASSED_ONE_IN


def block(rule):
    return BlockRule(pack_rule(rule), pack_sets({"x": rule}).get("x", []))


def program(*rules, guard=(), now_ns=NOW):
    return syn_filter([block(rule) for rule in rules], [masked(ip_network(one)) for one in guard], now_ns)


def datagram_program(*rules, guard=(), now_ns=NOW):
    return datagram_blocks([block(rule) for rule in rules], [masked(ip_network(one)) for one in guard], now_ns)


def run_datagram(blocks, source, port, destination, to_port, payload):
    """Run code about datagrams; return whether it goes on behind its end, or lets it pass."""
    code = blocks.four if ip_address(source).version == 4 else blocks.six
    datagram = struct.pack("!HHHH", port, to_port, 8 + len(payload), 0) + payload
    return run(
        [*struct.iter_unpack("HBBI", code), (made.RETURN, 0, 0, 1)], source, port, destination, to_port, data=datagram
    )


def run(instructions, source, port, destination, to_port, flags=SYN, random=NEVER_LET, data=None):
    """Run a program as the kernel does; return whether it lets a segment pass, or `data`."""
    source, destination = ip_address(source), ip_address(destination)
    head = b"\x45" + bytes(11) if source.version == 4 else b"\x60" + bytes(7)
    network = head + source.packed + destination.packed
    segment = struct.pack("!HHIIBBHHH", port, to_port, 0, 0, 0x50, flags, 0, 0, 0) if data is None else data
    at = value = steps = 0
    while True:
        code, yes, no, operand = instructions[at]
        at += 1
        steps += 1
        assert steps < 5_000
        if code in (made.LOAD_WORD, made.LOAD_HALF, made.LOAD_BYTE):
            size = {made.LOAD_WORD: 4, made.LOAD_HALF: 2, made.LOAD_BYTE: 1}[code]
            if operand == made.RANDOM:
                value = random
            else:
                part, offset = (network, operand - made.NETWORK) if operand >= made.NETWORK else (segment, operand)
                assert offset + size <= len(part)
                value = int.from_bytes(part[offset : offset + size], "big")
        elif code == made.LOAD_LENGTH:
            value = len(segment)
        elif code == made.AND:
            value &= operand
        elif code == made.OR:
            value |= operand
        elif code == made.SHIFT_RIGHT:
            value >>= operand
        elif code == made.JUMP:
            at += operand
        elif code == made.RETURN:
            return operand != 0
        else:
            holds = {
                made.JUMP_EQUAL: value == operand,
                made.JUMP_GREATER: value > operand,
                made.JUMP_GREATER_EQUAL: value >= operand,
            }[code]
            at += yes if holds else no


FOUR = [ip_address(f"{net}.{host}") for net in ("10.1.2", "10.1.3", "10.2.2", "192.0.2") for host in (1, 2, 200)]
SIX = [
    ip_address(f"{net}::{host}") for net in ("2001:db8:1", "2001:db8:2", "a001:db8:1", "fd00:0:0:1") for host in (1, 2)
]
PREFIXES = [
    "10.0.0.0/8",
    "10.1.2.0/24",
    "10.1.2.1/32",
    "0.0.0.0/0",
    "2001:db8:1::/48",
    "2001:db8::/32",
    "::/0",
    "fd00::/8",
]
ends = st.one_of(st.tuples(*[st.sampled_from(FOUR)] * 2), st.tuples(*[st.sampled_from(SIX)] * 2))
spans = st.none() | st.sampled_from([(443, 443), (0, 443), (400, 65535), (1000, 2000)])


@st.composite
def terms(draw):
    field = draw(st.sampled_from(["source", "source/24"]))
    addresses = draw(st.sets(st.sampled_from([*FOUR, *SIX]), max_size=9))
    values = frozenset(set_key(field, Facts(one, one)) for one in addresses)
    return SetTerm(field, values, draw(st.booleans()))


MAPPED = bytes(10) + b"\xff\xff"
PAYLOADS = [b"", b"A", b"AB", b"ABCDEFGH", b"ABCDEFGHIJ" * 9, b"A\0C", bytes(9)]
networks = st.none() | st.sampled_from(PREFIXES).map(ip_network)
rules = st.builds(
    FilterRule,
    source=networks,
    destination=networks,
    protocol=st.sampled_from([(6, 6), (0, 255), (17, 17)]),
    source_port=spans,
    destination_port=spans,
    length=st.sampled_from([(0, 65535), (40, 60), (0, 60)]),
    tcp_flags=st.sampled_from([None, (0x12, 0x02), (0x10, 0x10)]),
    version=st.sampled_from([None, 4, 6]),
    idle=st.booleans(),
    known=st.sampled_from([None, True, False]),
    served=st.sampled_from([None, True, False]),
    sets=st.lists(terms(), max_size=2).map(tuple),
    action=st.sampled_from(["block", "log"]),
)


payloads = st.none() | st.builds(
    lambda payload, size: (int.from_bytes(payload[:size].ljust(8, b"\0"), "big"), (1 << 64) - (1 << 64 - 8 * size)),
    st.sampled_from(PAYLOADS[3:]),
    st.integers(1, 8),
)
datagram_rules = st.builds(
    FilterRule,
    source=networks,
    destination=networks,
    protocol=st.sampled_from([(6, 6), (0, 255), (17, 17)]),
    source_port=spans,
    destination_port=spans,
    length=st.sampled_from([(0, 65535), (30, 60), (36, 36), (0, 29), (60, 65535), (0, 20)]),
    tcp_flags=st.sampled_from([None, (0x12, 0x02), (0x10, 0)]),
    version=st.sampled_from([None, 4, 6]),
    payload=payloads,
    idle=st.booleans(),
    known=st.sampled_from([None, True, False]),
    served=st.sampled_from([None, True, False]),
    sets=st.lists(terms(), max_size=2).map(tuple),
    action=st.sampled_from(["block", "log"]),
)


@pytest.fixture(scope="module")
def watched():
    one = Watched()
    one.lookout.watch(1, 1)
    yield one
    one.close()


@examples(400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rules, min_size=1, max_size=4), st.sets(st.sampled_from(PREFIXES[1:3]), max_size=2), st.data())
def test_what_it_drops_is_what_the_engine_refuses(watched, these, guard, data):
    made_of = program(*these, guard=guard)
    kept = sorted(made_of.rules) if made_of else []
    watched.rules(*[these[place] for place in kept], guard=guard)
    for _ in range(10):
        source, destination = data.draw(ends)
        port, to_port = data.draw(st.sampled_from([400, 1500, 40000])), data.draw(st.sampled_from([443, 80]))
        refused = watched.refuses(str(source), port, str(destination), to_port, protocol=6)
        passes = made_of is None or run(made_of.instructions, source, port, destination, to_port)
        assert passes == (not refused)


@examples(400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(datagram_rules, min_size=1, max_size=4), st.sets(st.sampled_from(PREFIXES[1:3]), max_size=2), st.data())
def test_what_it_drops_of_datagrams_is_what_the_engine_refuses(watched, these, guard, data):
    made_of = datagram_program(*these, guard=guard)
    watched.rules(*[these[place] for place in sorted(made_of.rules)], guard=guard)
    for _ in range(10):
        source, destination = data.draw(ends)
        port, to_port = data.draw(st.sampled_from([400, 1500, 40000])), data.draw(st.sampled_from([443, 80]))
        payload = data.draw(st.sampled_from(PAYLOADS))
        for flow in (0, 1):
            refused = watched.refuses(str(source), port, str(destination), to_port, payload=payload, flow=flow)
            assert run_datagram(made_of, source, port, destination, to_port, payload) == (not refused)


@pytest.mark.parametrize(
    "rule",
    [
        FilterRule(action="limit", packets_per_second=9),
        FilterRule(action="source-limit", packets_per_second=9),
        FilterRule(action="retry"),
        FilterRule(idle=True, known=False),
        FilterRule(payload=(0, 1 << 63)),
        FilterRule(protocol=(6, 6)),
        FilterRule(expires_ns=NOW),
    ],
)
def test_what_it_cannot_tell_of_datagrams_is_left_to_the_worker(rule):
    assert datagram_program(rule) == (b"", b"", frozenset(), 0)


@pytest.mark.parametrize(("host", "at"), [("127.0.0.1", "127.5.0.1"), ("::1", "::1")])
def test_datagrams_in_the_kernel(host, at):
    """Those of strangers that a rule blocks, and no others."""
    blocks = datagram_program(FilterRule(payload=(0x4142 << 48, 0xFFFF << 48), idle=True, expires_ns=NOW + 9))
    assert blocks.expires_ns == NOW + 9
    strangers = Strangers()
    strangers.block(blocks.four, blocks.six, 0)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def received(payload):
        came = 0
        for _ in range(400):
            client.sendto(payload, edge.getsockname())
            try:
                edge.recv(99)
                came += 1
            except BlockingIOError:
                pass
        return came

    with socket.socket(family, socket.SOCK_DGRAM) as edge, socket.socket(family, socket.SOCK_DGRAM) as client:
        edge.bind((host, 0))
        edge.setblocking(False)
        client.bind((at, 0))
        strangers.filter(edge.fileno(), 1, True)
        assert received(b"ABC") < 50
        assert [received(other) for other in (b"AC", b"A", b"")] == [400, 400, 400]
        packed = ip_address(at).packed
        strangers.note_source(packed if len(packed) == 16 else MAPPED + packed, 1)
        strangers.filter(edge.fileno(), 1, True)
        assert received(b"ABC") == 400


BLOCKED = FilterRule(source=ip_network("10.0.0.0/8"), idle=True)


def test_one_in_sixteen_passes():
    code = program(BLOCKED).instructions
    assert run(code, "10.1.1.1", 9, "192.0.2.1", 443, random=NEVER_LET - 1)
    assert not run(code, "10.1.1.1", 9, "192.0.2.1", 443, random=NEVER_LET)


@pytest.mark.parametrize("flags", [ACK, SYN | ACK, 0x01, 0x04, 0x18])
def test_only_syns_are_dropped(flags):
    assert run(program(BLOCKED).instructions, "10.1.1.1", 9, "192.0.2.1", 443, flags)


@pytest.mark.parametrize(
    "rule",
    [
        FilterRule(action="limit", packets_per_second=9),
        FilterRule(action="source-limit", packets_per_second=9),
        FilterRule(action="retry"),
        FilterRule(action="log"),
        FilterRule(idle=True, known=False),
        FilterRule(payload=(1 << 63, 1 << 63)),
        FilterRule(ttl=(9, 9)),
        FilterRule(sequence=5),
        FilterRule(expires_ns=NOW),
    ],
)
def test_what_it_cannot_tell_is_left_to_the_worker(rule):
    assert program(rule) is None


def test_it_ends_with_the_first_rule_that_ends():
    assert program(BLOCKED).expires_ns == 0
    ending = [FilterRule(source=BLOCKED.source, expires_ns=at) for at in (NOW + 5, NOW + 2, 0)]
    assert program(*ending).expires_ns == NOW + 2


def test_a_rule_that_does_not_fit_is_left_out():
    values = frozenset(0xFFFF << 32 | 8 * number for number in range(4096))
    large = FilterRule(sets=(SetTerm("source", values),))
    assert program(large) is None
    assert program(large, BLOCKED).rules == {1}
    some = FilterRule(sets=(SetTerm("source", frozenset(sorted(values)[:1000])),))
    code = program(some).instructions
    assert len(code) <= made.MAX_INSTRUCTIONS
    assert not run(code, "0.0.0.16", 9, "192.0.2.1", 443)
    assert run(code, "0.0.0.17", 9, "192.0.2.1", 443)


@pytest.mark.parametrize(("host", "source", "other"), [("127.0.0.1", "127.5.0.1", "127.6.0.1"), ("::1", "::1", None)])
def test_in_the_kernel(host, source, other):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    prefix = "127.5.0.0/16" if family == socket.AF_INET else "::/64"

    def connects(address):
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(0.2)
            client.bind((address, 0))
            try:
                client.connect((host, listener.getsockname()[1]))
            except TimeoutError:
                return False
            with listener.accept()[0] as accepted:
                client.sendall(b"x")
                return accepted.recv(1) == b"x"

    with socket.create_server((host, 0), family=family) as listener:
        detach(listener.fileno())
        assert connects(source)
        attach(listener.fileno(), program(FilterRule(source=ip_network(prefix))).instructions)
        assert not all(connects(source) for _ in range(4))
        assert other is None or connects(other)
        detach(listener.fileno())
        assert connects(source)
