"""What the engine shows to detection, and its rules against those in Python (`spectrum.core.filter_rules`)."""

import os
import socket
import struct
import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from spectrum.core.filter_rules import FilterRule, PacketFacts, SetTerm, matches, set_key
from spectrum.engine.lookout import Lookout
from spectrum.kernel.filter.rules import pack_rule
from spectrum.kernel.worker_looks import FILE_BYTES, RECORDS
from spectrum.wire import frames
from tests.engine.lookouts import mapped
from tests.properties import examples

COMMON = examples(100, suppress_health_check=[HealthCheck.too_slow])
FOUR = ["192.0.2.1", "192.0.2.2", "192.0.3.1", "198.51.100.7"]
SIX = ["2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1", "::1"]


# --- rules --------------------------------------------------------------------------------------------------------

ports = st.sampled_from([0, 1, 53, 255, 256, 65535])
payloads = st.sampled_from([b"", b"G", b"GV\1\2\3", b"GW\1\2\3\4\5\6\7\x08", bytes(70)])


@st.composite
def packets(draw):
    version = draw(st.sampled_from([FOUR, SIX]))
    protocol, payload = draw(st.sampled_from([6, 17])), draw(payloads)
    source, destination = (ip_address(draw(st.sampled_from(version))) for _ in range(2))
    is_udp = protocol == 17
    facts = PacketFacts(
        source,
        destination,
        protocol,
        (draw(ports), draw(ports)),
        len(payload) + (28 if source.version == 4 else 48) if is_udp else 0,
        tcp_flags=0 if is_udp else 0x02,
        payload=int.from_bytes(payload[:8].ljust(8, b"\0")) if is_udp else 0,
        flow=draw(st.integers(0, 1)),
        served=True,
    )
    return facts, payload


def spans(values):
    return st.tuples(values, values).map(lambda ends: (min(ends), max(ends)))


@st.composite
def rules(draw):
    def maybe(values, otherwise=None):
        return draw(values) if draw(st.integers(0, 4)) == 0 else otherwise

    addresses = draw(st.sampled_from([FOUR, SIX]))
    bits = [0, 24, 32] if addresses is FOUR else [32, 48, 64, 128]
    prefixes = st.builds(
        lambda address, bits: ip_network((address, bits), strict=False),
        st.sampled_from(addresses),
        st.sampled_from(bits),
    )
    fields = st.sampled_from(["source", "source/24", "payload[:2]"])
    terms = fields.flatmap(
        lambda field: st.builds(
            SetTerm,
            st.just(field),
            st.frozensets(packets().map(lambda one: set_key(field, one[0])), max_size=5),
            st.booleans(),
        )
    )
    return FilterRule(
        maybe(prefixes),
        maybe(prefixes),
        maybe(st.sampled_from([(6, 6), (17, 17)]), (0, 255)),
        maybe(spans(ports)),
        maybe(spans(ports)),
        maybe(spans(st.sampled_from([0, 28, 29, 33, 48, 1500])), (0, 65535)),
        version=maybe(st.sampled_from([4, 6])),
        payload=maybe(st.tuples(st.just(0x4756 << 48), st.sampled_from([0xFFFF << 48, 0xFF << 56]))),
        idle=maybe(st.booleans(), False),
        served=maybe(st.booleans()),
        known=maybe(st.booleans()),
        sets=maybe(st.lists(terms, min_size=1, max_size=2).map(tuple), ()),
        expires_ns=maybe(st.sampled_from([1, 1 << 62]), 0),
    )


@pytest.mark.hypothesis
def test_the_engine_matches_as_python_does(watching):
    seen = [0, 0]

    @COMMON
    @given(st.lists(rules(), max_size=12), st.lists(packets(), min_size=10, max_size=40))
    def agree(some, several):
        watching.rules(*some)
        for facts, payload in several:
            expected = any(rule.expires_ns != 1 and matches(rule, facts) for rule in some)
            refused = watching.lookout.refuses(
                mapped(facts.source), facts.ports[0], mapped(facts.destination), facts.ports[1], facts.protocol,
                payload, facts.flow,
            )  # fmt: skip
            assert refused == expected, (facts, some)
            seen[expected] += 1

    agree()
    assert min(seen) > COMMON.max_examples


def test_flows_in_use_and_guarded_prefixes_are_spared(watching):
    watching.rules(FilterRule(idle=True), guard=["198.51.100.0/24", "2001:db8:1::/48"])
    assert watching.refuses() and watching.refuses(flow=1) and not watching.refuses(flow=2)
    assert watching.refuses("2001:db8::1", destination="2001:db8::2")
    for source, destination in (("198.51.100.7", "192.0.2.2"), ("192.0.2.2", "198.51.100.7")):
        assert not watching.refuses(source, destination=destination)
    assert not watching.refuses("2001:db8:1::5", destination="2001:db8::2")
    watching.rules(FilterRule())
    assert not watching.refuses(flow=2), "whatever a rule says"


def test_actions(watching):
    now = time.monotonic_ns()
    second = 10**9
    watching.rules(
        FilterRule(destination_port=(1, 1), action="log"),
        FilterRule(destination_port=(2, 2), action="limit", packets_per_second=10),
        FilterRule(destination_port=(3, 3), action="source-limit", packets_per_second=10),
        FilterRule(destination_port=(4, 4), action="retry"),
        FilterRule(destination_port=(5, 5), action="cookie"),
        FilterRule(destination_port=(6, 6), expires_ns=now + second),
    )
    assert not watching.refuses(to_port=1)
    # A burst of a second: of all for `limit`, of each source for the other one.
    assert sum(watching.refuses(to_port=2, now_ns=now, port=n) for n in range(30)) == 20
    refused = [watching.refuses(source, to_port=3, now_ns=now) for source in FOUR[:2] for _ in range(15)]
    assert sum(refused[:15]) == sum(refused[15:]) == 5
    # Dropped for the first time, and what comes again at once; not 1 to 4 s later.
    comes = [watching.refuses(to_port=4, now_ns=now + int(at * second)) for at in (0, 0.001, 1.5, 9)]
    assert comes == [True, True, False, True]
    assert not watching.refuses(to_port=4, protocol=6), "its client is no forged address"
    assert not watching.refuses(to_port=5, protocol=6)
    assert watching.refuses(to_port=6, now_ns=now) and not watching.refuses(to_port=6, now_ns=now + second)
    counts = watching.looks.counts()
    assert [packets for packets, _ in counts[:6]] == [1, 20, 10, 3, 0, 1]
    assert counts[0] == (1, 14 + 28)


def test_invalid_rules_are_refused(watching):
    for wrong in ([(b"x", [])], [(pack_rule(FilterRule()), [b"", b"", b""])], [(pack_rule(FilterRule()), [])] * 65):
        with pytest.raises(ValueError, match=r"a rule has 208 bytes|64 rules at most"):
            watching.lookout.set_rules(wrong)


# --- what is shown ------------------------------------------------------------------------------------------------


def test_packets_are_shown_with_what_is_known(watching):
    watching.rules(FilterRule(destination_port=(54, 54)))
    assert not watching.refuses(payload=b"GV\1" + bytes(60), is_due=True)
    assert watching.refuses(to_port=54, payload=b"x", is_due=True)
    assert not watching.refuses("2001:db8::1", destination="2001:db8::2", protocol=6, is_due=True)
    rows = watching.rows()
    packets = rows.packets
    assert list(packets["protocol"]) == [17, 17, 6, 6] and list(packets["version"]) == [4, 4, 6, 6]
    assert list(packets["length"]) == [91, 29, 0, 0] and list(rows.reason) == [0, 1, 0, 0]
    assert list(packets["state"]) == [0, 0, 0, 1], "of a session its SYN, and the end of its handshake"
    assert list(packets["payload_bytes"]) == [8, 1, 0, 0] and packets["payload"][0] == 0x475601 << 40
    assert list(packets["served"]) == [1] * 4 and list(packets["app"]) == [-1] * 4
    shown = [frames.parse(rows.header(row)) for row in range(4)]
    assert [(str(one.source), one.source_port, one.destination_port) for one in shown[:2]] == [
        ("192.0.2.1", 9, 53),
        ("192.0.2.1", 9, 54),
    ]
    assert shown[2].tcp_flags == ("syn",) and shown[3].tcp_flags == ("ack",)
    assert len(rows.header(0)) == 88


def test_what_nobody_reads_is_lost_and_counted(watching):
    for _ in range(RECORDS + 5):
        watching.refuses(is_due=True)
    assert watching.looks.lost == 5 and len(watching.rows()) == RECORDS
    watching.refuses(is_due=True)
    assert len(watching.rows()) == 1
    # Who reads may write what it likes there.
    os.pwrite(watching.memory, struct.pack("=QQ", 2**63, 2**40), 0)
    watching.refuses(is_due=True)
    assert os.fstat(watching.memory).st_size == FILE_BYTES
    with pytest.raises(PermissionError):
        os.truncate(watching.memory, 0)


def test_memory_that_cannot_be_mapped():
    with pytest.raises(OSError, match="cannot be mapped"), socket.socket() as sock:
        Lookout().attach(sock.fileno(), None)
    assert Lookout.bytes_size() == FILE_BYTES


def test_what_stands_for_others_is_counted_and_shown_as_so_many(watching):
    rule = FilterRule(source=ip_network("192.0.2.0/24"))
    watching.rules(rule)
    watching.lookout.thin({0}, 16)
    assert watching.refuses("192.0.2.1", protocol=6, is_due=True)
    assert list(watching.rows().packets["stands_for"]) == [16, 16]
    assert watching.looks.counts()[0][0] == 16
    # The kernel drops only SYNs before; and what no rule refuses stands for itself.
    assert watching.refuses("192.0.2.1", protocol=17, is_due=True)
    assert not watching.refuses("198.51.100.1", protocol=6, is_due=True)
    assert list(watching.rows().packets["stands_for"]) == [1, 1, 1]
    assert watching.looks.counts()[0][0] == 17
    watching.rules(rule)
    assert watching.refuses("192.0.2.1", protocol=6)
    assert watching.looks.counts()[0][0] == 18
