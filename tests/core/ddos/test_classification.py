import numpy as np
import pytest

from spectrum.core.ddos.classification import classify, shared_fields
from spectrum.core.ddos.expressions import address_span
from spectrum.core.ddos.packets import COLUMNS, IN_USE, MAPPED, OPENING, SHAKEN, Packets
from spectrum.core.ddos.predicates import Conjunction, Predicate
from spectrum.core.packets import PROTOCOLS, TCP_FLAGS
from spectrum.simulation.normal import World
from spectrum.simulation.vectors import HELD_OUT, VECTORS, flood

UDP, TCP = PROTOCOLS["udp"], PROTOCOLS["tcp"]
NOTHING = Conjunction()


def packets(count=100, **given):
    """Return packets that are all as one but for columns that are given whole."""
    usual = {"stands_for": 1.0, "version": 4, "protocol": UDP, "length": 100, "ttl": 64, "payload_bytes": 8, "app": 0}
    columns = {name: np.full(count, 0, kind) for name, kind in COLUMNS.items()}
    for name, value in (usual | given).items():
        columns[name] = np.broadcast_to(np.asarray(value, COLUMNS[name]), count).copy()
    return Packets(columns)


def tcp(*flags, **given):
    bits = sum(TCP_FLAGS[name] for name in flags)
    return packets(protocol=TCP, tcp_flags=bits, **({"length": 40, "payload_bytes": 0} | given))


@pytest.mark.parametrize(
    ("vector", "ref"),
    [
        ("udp_random", "UDP-0001"),
        ("udp_fixed", "BOT-0001"),
        ("udp_empty", "QUIC-0001"),
        ("dns_reflection", "RFL-0001"),
        ("ntp_reflection", "RFL-0002"),
        ("ssdp_reflection", "RFL-0003"),
        ("memcached_reflection", "RFL-0004"),
        ("wsd_reflection", "RFL-0007"),
        ("chargen_reflection", "RFL-0006"),
        ("syn_random", "TCP-0003"),
        ("syn_fixed", "TCP-0001"),
        ("syn_os", "TCP-0001"),
        ("ack_random", "TCP-0006"),
        ("rst_flood", "TCP-0007"),
        ("synack_reflection", "RFL-0101"),
        ("fragments", "UDP4-0001"),
        ("icmp_flood", "ICMP-0001"),
        ("gre_flood", "GRE4-0001"),
        ("carpet", "CARPET-0001"),
        ("mirai_udpplain", "BOT-0001"),
        ("connections", "TCP-0202"),
        ("sport_fixed", "UDP-0004"),
        ("v6_syn", "TCP-0003"),
        ("multi", "TCP-0002"),
        ("fin_flood", "TCP-0008"),
        ("esp_flood", "ESP4-0001"),
    ],
)
def test_floods_of_the_benchmark_have_their_names(vector, ref):
    assert vector in VECTORS or vector in HELD_OUT
    assert (
        classify(Conjunction((Predicate("length", "is", (1,)),)), flood(World(3), vector, 4_000, 1.0, 1.0)).ref == ref
    )


@pytest.mark.parametrize(
    ("samples", "ref"),
    [
        (tcp(), "TCP-0101"),
        (tcp("fin", "psh", "urg"), "TCP-0102"),
        (tcp("syn", "fin"), "TCP-0103"),
        (tcp("syn", "rst"), "TCP-0104"),
        (tcp("rst", "fin"), "TCP-0105"),
        (tcp("syn", window=512), "BOT-0002"),
        (tcp("syn", window=1024, options=5), "BOT-0003"),
        (tcp("syn", ident=54321, options=5), "BOT-0004"),
        (tcp("syn", options=5, length=400), "TCP-0004"),
        (tcp("syn", length=400), "TCP-0004"),
        (tcp("psh", "ack", length=400), "TCP-0005"),
        (tcp("ack", source_port=80, length=1400), "RFL-0102"),
        (tcp("urg", "ack"), "TCP-0009"),
        (tcp("ack", state=SHAKEN, served=1), "TCP-0203"),
        (tcp("ack", fragment=2), "FRAG-0003"),
        (tcp("ack", fragment=1, length=1400), "FRAG-0001"),
        (tcp("psh"), "TCP-0002"),
        (packets(length=28), "UDP-0002"),
        (packets(length=33), "UDP-0003"),
        (packets(served=0), "UDP-0004"),
        (packets(served=1), "UDP-0005"),
        (packets(destination_port=53), "DNS-0002"),
        (packets(payload=0xFFFFFFFF54000000), "GAME-0001"),
        (packets(payload=0x545333494E495431), "GAME-0004"),
        (packets(payload=0x545333494E495400), "UDP-0004"),
        (packets(source_port=443, length=1200), "RFL-0046"),
        (packets(source_port=27020), "RFL-0012"),
        (packets(protocol=58, version=6), "ICMP-0002"),
        (packets(protocol=47, version=6), "GRE6-0001"),
        (packets(protocol=132), "SCTP-0001"),
        (packets(protocol=0), "PROTO-0000"),
        (packets(protocol=200), "GENERIC-0001"),
        (packets(protocol=200, version=6), "GENERIC-0002"),
        (packets(protocol=200, destination_low=np.arange(100)), "CARPET-0003"),
        (Packets.none(), "GENERIC-0003"),
    ],
)
def test_kinds_of_packets(samples, ref):
    assert classify(NOTHING, samples).ref == ref


def test_most_of_the_packets_decide_and_each_counts_for_what_it_stands_for():
    mixed = np.where(np.arange(100) < 65, 123, 4444)
    assert classify(NOTHING, packets(source_port=mixed)).ref == "RFL-0002"
    assert classify(NOTHING, packets(source_port=np.where(np.arange(100) < 50, 123, 4444))).ref == "UDP-0004"
    few = np.where(np.arange(100) < 10, 100.0, 1.0)
    assert classify(NOTHING, packets(source_port=np.where(few > 1, 123, 4444), stands_for=few)).ref == "RFL-0002"


def answers(whole, first, later):
    """Answers of name servers: whole ones, and those in fragments, of which only the first one has ports."""
    kinds = np.repeat([0, 1, 2], [whole, first, later])
    return packets(len(kinds), fragment=kinds, source_port=np.where(kinds == 2, 0, 53), length=1500)


@pytest.mark.parametrize(
    ("samples", "ref"),
    [
        (answers(100, 0, 0), "RFL-0001"),
        (answers(50, 25, 25), "RFL-0001"),
        (answers(0, 65, 35), "RFL-0001"),
        (answers(5, 45, 50), "UDP4-0001"),
        (answers(0, 34, 66), "UDP4-0001"),
        (answers(0, 0, 100), "UDP4-0001"),
    ],
)
def test_answers_in_fragments_are_a_reflection_where_most_packets_say_so(samples, ref):
    assert classify(NOTHING, samples).ref == ref


def test_fragments_beside_more_tcp_are_no_udp_flood():
    kinds = np.where(np.arange(100) < 70, TCP, UDP)
    mixed = packets(protocol=kinds, fragment=np.where(kinds == UDP, 2, 0), tcp_flags=TCP_FLAGS["psh"], served=0)
    assert classify(NOTHING, mixed).ref == "TCP-0002"
    half = np.where(np.arange(100) < 50, TCP, UDP).astype(np.uint8)
    assert classify(NOTHING, mixed.replaced(protocol=half)).name == "Mixed flood"


def test_carpets_and_pulses():
    many = np.arange(100) % 16
    assert classify(NOTHING, packets(destination_low=many)).ref == "CARPET-0001"
    assert classify(NOTHING, packets(destination_low=np.where(np.arange(100) < 60, 0, many))).ref == "UDP-0004"
    assert classify(NOTHING, packets(), pulses=4).ref == "PULSE-0001"
    assert classify(NOTHING, packets(source_port=53), pulses=4).ref == "RFL-0001"


def test_clients_in_use_are_no_connection_flood():
    assert classify(NOTHING, tcp("ack", state=IN_USE, served=1)).ref == "TCP-0006"
    assert classify(NOTHING, tcp("ack", state=OPENING, served=1)).ref == "TCP-0006"


def one(field, *values, kind="is", example=""):
    return Predicate(field, kind, values, example)


UDP_IS, TCP_IS = one("protocol", 17), one("protocol", 6)


@pytest.mark.parametrize(
    ("predicates", "expected"),
    [
        ((), {}),
        ((one("length", 540), one("ttl", 64)), {"ip.len": ((540, 540),), "ip.ttl": ((64, 64),)}),
        ((one("ttl", 51, 52, kind="in"),), {"ip.ttl": ((51, 51), (52, 52))}),
        ((one("ttl", 51, kind="not in"),), {}),
        ((one("length/8", 5),), {"ip.len": ((40, 47),)}),
        ((one("destination", 1, example="192.0.2.7"),), {"ip.dst": (address_span("192.0.2.7"),)}),
        ((one("destination", 1),), {}),
        ((one("source", 1, example="2001:db8:0:1::9"),), {"ip.src": (address_span("2001:db8:0:1::/64"),)}),
        ((one("source/24", 0xC00002),), {"ip.src": (address_span("192.0.2.0/24"),)}),
        (
            (one("source/24", 0xC00002, (1 << 63) | 0x20010DB80001, kind="in"),),
            {"ip.src": (address_span("192.0.2.0/24"), address_span("2001:db8:1::/48"))},
        ),
        (
            (one("source", MAPPED | 0xC0000201, (1 << 63) | 0x20010DB800010002, kind="in"),),
            {"ip.src": (address_span("192.0.2.1"), address_span("2001:db8:1:2::/64"))},
        ),
        # without the protocol nobody knows whose ports these are
        ((one("destination_port", 53),), {}),
    ],
)
def test_what_an_attack_shares(predicates, expected):
    assert shared_fields(Conjunction(predicates)) == expected


def test_ports_and_flags_are_those_of_the_protocol():
    udp = shared_fields(Conjunction((UDP_IS, one("destination_port", 53), one("source_port", 4444))))
    assert (udp["udp.dstport"], udp["udp.srcport"]) == (((53, 53),), ((4444, 4444),))
    assert udp["tcp.dstport"] == udp["tcp.flags"] == udp["tcp.flags.syn"] == ()
    syn = shared_fields(Conjunction((TCP_IS, one("tcp_flags", TCP_FLAGS["syn"]))))
    assert (syn["tcp.flags"], syn["tcp.flags.syn"], syn["tcp.flags.ack"]) == (((2, 2),), ((1, 1),), ((0, 0),))
    assert syn["udp.dstport"] == () and "tcp.dstport" not in syn
    numbered = shared_fields(Conjunction((TCP_IS, one("sequence", 7), one("acknowledgement", 0))))
    assert (numbered["tcp.seq"], numbered["tcp.ack"], udp["tcp.seq"]) == (((7, 7),), ((0, 0),), ())
    assert shared_fields(Conjunction((one("protocol", 47),)))["tcp.srcport"] == ()
