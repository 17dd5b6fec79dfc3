import pytest

from spectrum.core.ddos.packets import MAPPED
from spectrum.core.ddos.predicates import Conjunction, Predicate, address_text, prefix_text
from tests.core.ddos.test_packets import rows


def test_kinds():
    packets = rows(length=[40, 60, 80], ttl=[1, 2, 3])
    assert Predicate("length", "is", (60,)).match(packets).tolist() == [False, True, False]
    assert Predicate("length", "in", (60, 80)).match(packets).tolist() == [False, True, True]
    assert Predicate("length", "not in", (60,)).match(packets).tolist() == [True, False, True]
    assert Predicate("ttl", "in", (1, 3)).match(packets).tolist() == [True, False, True]  # by a table
    assert Predicate("ttl", "not in", (1, 3)).match(packets).tolist() == [False, True, False]
    both = Conjunction((Predicate("ttl", "in", (1, 2)), Predicate("length", "not in", (40,))))
    assert both.match(packets).tolist() == [False, True, False]
    assert Conjunction().match(packets).all()


def test_what_packets_do_not_have_is_not_zero():
    packets = rows(protocol=[6, 6, 17], fragment=[0, 2, 0])
    for field in ("sequence", "acknowledgement"):
        assert Predicate(field, "is", (0,)).match(packets).tolist() == [True, False, False]
    assert Predicate("source_port", "is", (0,)).match(packets).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("predicate", "text"),
    [
        (Predicate("protocol", "is", (17,)), "protocol udp"),
        (Predicate("protocol", "is", (99,)), "protocol 99"),
        (Predicate("destination", "is", (5,), "203.0.113.10"), "to 203.0.113.10"),
        (Predicate("tcp_flags", "is", (0x12,)), "TCP syn+ack"),
        (Predicate("tcp_flags", "is", (0,)), "TCP no flags"),
        (Predicate("fragment", "is", (2,)), "later fragment"),
        (Predicate("sequence", "is", (5,)), "TCP sequence number 5"),
        (Predicate("acknowledgement", "is", (0,)), "TCP acknowledgement number 0"),
        (Predicate("served", "is", (0,)), "to an address and port without an app"),
        (Predicate("payload[:2]", "is", (0x4756,)), "payload begins 4756"),
        (Predicate("payload[:2]", "not in", (0x4756, 1)), "payload's first 2 bytes not in {4756, 0001}"),
        (Predicate("source_port", "is", (53,)), "source port 53"),
        (Predicate("ttl", "in", tuple(range(10))), "ttl in {0, 1, 2, 3, 4, 5, 6, 7 and 2 more}"),
        (Predicate("source/24", "in", ((MAPPED | 0xCB007100) >> 8,)), "source's /24 (IPv6: /48) in {203.0.113.0/24}"),
        (Predicate("tcp_flags", "in", (2, 16)), "tcp flags in {syn, ack}"),
    ],
)
def test_words(predicate, text):
    assert str(predicate) == text


def test_addresses():
    assert prefix_text("source/16", (MAPPED | 0xCB007100) >> 16) == "203.0.0.0/16"
    assert prefix_text("source/24", 0x20010DB80001 | 1 << 63) == "2001:db8:1::/48"
    assert prefix_text("source/16", 0x20010DB8 | 1 << 63) == "2001:db8::/32"
    assert address_text(4, 0, MAPPED | 0xCB00710A) == "203.0.113.10"
    assert address_text(6, 0x20010DB800000000, 1) == "2001:db8::1"
    assert str(Conjunction()) == "any packet"
    assert str(Conjunction((Predicate("version", "is", (4,)), Predicate("length", "is", (40,))))) == "IPv4, 40 bytes"
