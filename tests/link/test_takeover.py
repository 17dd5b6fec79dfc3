"""Messages that cross versions are frozen: the bytes here are what processes that run now send and understand.

To add a field: append it, with a default, to the struct; add a row to `GOLDEN` with the new bytes, and move the old one
to `BEFORE`, where it stays. An older process ignores the field.
To add a message: add a row. An older process passes it over, so nothing may depend on it unless the other end's `Hello`
says that it knows it.
What an older process would misread (another meaning, a field removed) takes another name, or another `VERSION` in
`link/versions.py`, and a row in `BEFORE` for each older form that `OLDEST` still lets in.
"""

import msgspec
import pytest

from spectrum.core.live_sessions import LiveSession, Selection
from spectrum.core.records.measures import (
    CONNECT_BOUNDS_S,
    DROPS,
    DURATION_BOUNDS_S,
    AppMeasures,
    Histogram,
    OriginMeasures,
    WorkerMeasures,
)
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import ListenerKey
from spectrum.link.channel import MAX_PACKET_BYTES
from spectrum.link.messages import DECODER
from spectrum.link.takeover import (
    CrossingMessage,
    Drain,
    Events,
    FindSessions,
    FoundSessions,
    Measures,
    Names,
    RecordsKept,
    Release,
    Released,
    Sockets,
    Take,
    TakenOver,
)
from spectrum.link.versions import Hello

CONNECT, DURATION = Histogram([6, 7], 0.5), Histogram([8, 9], 1.5)
ORIGINS = {"o": OriginMeasures(10, 11, 12, "x", {"y": 28}, 29, 30, 31, 0.5, 32, {"used": 45})}
APP = AppMeasures(1, 2, 3, {4: 5}, CONNECT, DURATION, ORIGINS, 13, 14, {15: 16}, 17, {"r": 18}, 19, 20, 33, 0.25, 46)
# Without what the measures of apps and origins have since.
OLD_APP = msgspec.structs.replace(
    APP, origins={"o": OriginMeasures(10, 11, 12, "x")}, queued=0, queue_wait_s=0.0, left_out=0
)
SELECTION = Selection(("app",), "192.0.2.0/24", ("192.0.2.1:22",), (29,), 30, 31, {"tcp": (32,)})
SESSION = LiveSession(
    *("tcp", 35, "app", "relaying", b"\xc0\0\2\1", 36, b"\xc0\0\2\2", 37, "192.0.2.3", 38, 39, 40, 41, 42, 43)
)
# What is sent, and its bytes.
GOLDEN = [
    (Hello(2, 1), "93a548656c6c6f0201"),
    (Take(), "91a454616b65"),
    (TakenOver(1, 4242), "93a75665746572616e01cd1092"),
    (
        Sockets([ListenerKey("192.0.2.1", 443), ListenerKey("", 0, "udp", True, "app")]),
        "92a7536f636b6574739295a93139322e302e322e31cd01bba3746370c2a095a000a3756470c3a3617070",
    ),
    (
        Names({"ANY a tcp 1-1": ("192.0.2.1", "2001:db8::1")}),
        "92a54e616d657381ad414e5920612074637020312d3192a93139322e302e322e31ab323030313a6462383a3a31",
    ),
    (Release(30.0), "92a752656c65617365cb403e000000000000"),
    (Released(), "91a852656c6561736564"),
    (Drain(0.5), "92a5447261696ecb3fe0000000000000"),
    (
        Measures(7, True, {"app": APP}, WorkerMeasures(21, 0.25, 22, 23), 24, False, 25, 26, 27),
        "9aa84d6561737572657307c381a3617070dc001101020381040592920607cb3fe000000000000092920809cb3ff800000000000081a16"
        "f9b0a0b0ca17881a1791c1d1e1fcb3fe00000000000002081a4757365642d0d0e810f101181a17212131421cb3fd0000000000000"
        "2e9415cb3fd0000000000000161718c2191a1b",
    ),
    (Events(2, b"{}\n{}\n", "w", 7, True, False), "97a64576656e747302c4067b7d0a7b7d0aa17707c3c2"),
    (RecordsKept(7), "92a44b65707407"),
    (
        FindSessions(28, SELECTION, "age", 33, True),
        "96a446696e641c9791a3617070ac3139322e302e322e302f323491ac3139322e302e322e313a3232911d1e1f81a37463709120a361676521c3",
    ),
    (
        FoundSessions(34, [SESSION], 44, True),
        "95a5466f756e6422919fa374637023a3617070a872656c6179696e67c404c000020124c404c000020225a93139322e302e322e33262728292a"
        "2b2cc3",
    ),
]
# What processes of older versions send, and what it means.
BEFORE = [
    # Version 1, commit e266524: without `deaf` and `listeners_mended`, and without `source` and the fields after it.
    (Events(2, b"{}\n{}\n"), "93a64576656e747302c4067b7d0a7b7d0a"),
    # Without `has_sums`: there may be some.
    (Events(2, b"{}\n{}\n", "w", 7, True), "96a64576656e747302c4067b7d0a7b7d0aa17707c3"),
    # Without `left_out`.
    (
        Measures(
            7,
            True,
            {"app": msgspec.structs.replace(APP, left_out=0)},
            WorkerMeasures(21, 0.25, 22, 23),
            24,
            False,
            25,
            26,
            27,
        ),
        "9aa84d6561737572657307c381a3617070dc001001020381040592920607cb3fe000000000000092920809cb3ff800000000000081a16"
        "f9b0a0b0ca17881a1791c1d1e1fcb3fe00000000000002081a4757365642d0d0e810f101181a17212131421cb3fd0000000000000"
        "9415cb3fd0000000000000161718c2191a1b",
    ),
    (
        Measures(7, True, {"app": OLD_APP}, WorkerMeasures(21, 0.25, 22), 24, False, 25, 26),
        "99a84d6561737572657307c381a36170709e01020381040592920607cb3fe000000000000092920809cb3ff800000000000081a16f940a"
        "0b0ca1780d0e810f101181a1721213149315cb3fd00000000000001618c2191a",
    ),
]


def kind(row):
    return type(row).__name__ if not isinstance(row, str) else ""


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=kind)
def test_what_crosses_versions_is_frozen(message, golden):
    assert msgspec.msgpack.encode(message).hex() == golden
    assert DECODER.decode(bytes.fromhex(golden)) == message


@pytest.mark.parametrize(("message", "golden"), BEFORE, ids=kind)
def test_what_an_older_version_says_is_understood(message, golden):
    assert DECODER.decode(bytes.fromhex(golden)) == message


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=kind)
def test_what_a_later_version_adds_is_ignored(message, golden):
    later = [*msgspec.msgpack.decode(bytes.fromhex(golden)), {"more": 1}]
    assert DECODER.decode(msgspec.msgpack.encode(later)) == message


def test_no_message_that_crosses_versions_is_without_golden_bytes():
    assert {type(message) for message, _ in GOLDEN} == {Hello, *CrossingMessage.__args__}


# The numbers of reasons in `AppMeasures.ended`. Appended to, never changed: a number that was used stays taken.
REASONS = """
1=client_closed 2=origin_closed 3=client_reset 4=origin_reset 5=client_timeout 6=origin_timeout 7=client_unreachable
8=origin_unreachable 9=client_pipe 10=origin_pipe 11=idle_timeout 12=drained 13=worker_lost 14=origin_refused
15=evicted 16=listener_removed 17=origin_drained 18=client_stuck 19=origin_stuck 20=connect_refused
21=connect_timeout 22=connect_unreachable 23=connect_failed 24=no_source_port 25=no_descriptor 26=no_origin
27=unresolved 28=source_family 29=source_forbidden 30=memory_limit 31=client_tls_error 32=origin_tls_error
33=origin_tls_failed 34=origin_certificate 35=no_watch 36=killed 37=origin_full
38=queue_timeout 39=retry_budget 40=header_untrusted 41=header_invalid 42=header_timeout
43=header_missing 44=client_limit 45=client_rate 46=app_limit 47=app_rate 48=node_limit 49=node_rate
50=client_blocked 51=sni_unknown 52=prefix_limit 53=prefix_rate 54=client_tls_failed 55=client_tls_timeout
56=not_intercepted 57=hello_too_long 58=own_listener 59=app_paused 60=internal_error 61=acme_challenge
62=attack
"""


def test_numbers_of_reasons_are_frozen():
    assert {f"{reason.value}={reason.label}" for reason in Reason} == set(REASONS.split())


def test_what_measures_count_by_place_is_frozen():
    """Places of `AppMeasures.dropped` may be appended; histograms of other bounds do not add up."""
    assert DROPS[:12] == (
        *("bad_reply", "too_big", "not_sent_to_origin", "not_sent_to_client", "no_flow", "queue_full", "bad_header"),
        *("untrusted", "rate", "fragmented", "overload", "attack"),
    )
    assert (len(CONNECT_BOUNDS_S), len(DURATION_BOUNDS_S)) == (15, 14)


def test_names_fit_packets():
    many = {f"ANY {'x' * 60}{i} tcp 1-1": tuple(f"2001:db8::{n:x}" for n in range(i % 90)) for i in range(1000)}
    packets = list(Names.packets(many))
    assert len(packets) > 1
    assert {name: known for packet in packets for name, known in packet.addresses.items()} == many
    assert max(len(msgspec.msgpack.encode(packet)) for packet in packets) < MAX_PACKET_BYTES
    # One name with all that an answer over TCP holds.
    (packet,) = Names.packets({"ANY x tcp 1-1": tuple(f"192.0.{n >> 8}.{n & 255}" for n in range(4090))})
    assert len(msgspec.msgpack.encode(packet)) < MAX_PACKET_BYTES
    assert list(Names.packets({})) == []


def test_sessions_fit_packets():
    big = LiveSession(
        *("udp", 2**56, "a" * 255, "confirmed", bytes(16), 65535, bytes(16), 65535),
        *("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, 65535, 2**40, 2**40, 2**60, 2**60),
    )
    packets = list(FoundSessions.packets(1, [big] * 401, 500))
    assert [len(packet.sessions) for packet in packets] == [200, 200, 1]
    assert [(packet.total, packet.last) for packet in packets] == [(500, False), (500, False), (500, True)]
    assert max(len(msgspec.msgpack.encode(packet)) for packet in packets) < MAX_PACKET_BYTES
    assert list(FoundSessions.packets(1, [], 7)) == [FoundSessions(1, [], 7, True)]
