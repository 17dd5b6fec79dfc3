import msgspec
import pytest

from spectrum.core.live_sessions import ORDERS, FirstSessions, LiveSession, Selection, address_port

V4, V6 = bytes([192, 0, 2, 1]), bytes.fromhex("20010db8") + bytes(11) + b"\1"
ONE = LiveSession("tcp", 7, "web", "relaying", V4, 5000, V4, 80, "10.0.0.1", 8080, 3, 60_000, 500, 100, 200)
OTHER = LiveSession("udp", 7, "dns", "young", V6, 53, V6, 53, "2001:db8::9", 53, 0, 1000, 900, 5, 0)
NOWHERE = LiveSession("tcp", 8, "web", "header", V4, 1, V4, 80, "", 0, 0, 10, 0, 0, 0)
ALL = (ONE, OTHER, NOWHERE)


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), ALL),
        (Selection(apps=("web",)), (ONE, NOWHERE)),
        (Selection(apps=("web", "dns"), min_bytes=5), (ONE, OTHER)),
        (Selection(min_bytes=300), (ONE,)),
        (Selection(min_bytes=301), ()),
        (Selection(min_age_ms=1000), (ONE, OTHER)),
        (Selection(client="192.0.2.0/24"), (ONE, NOWHERE)),
        (Selection(client="2001:db8::1"), (OTHER,)),
        (Selection(client="::/0"), (OTHER,)),
        (Selection(origins=("10.0.0.1",)), (ONE,)),
        (Selection(origins=("10.0.0.1:8080", "[2001:db8::9]:53")), (ONE, OTHER)),
        (Selection(origins=("10.0.0.1:80",)), ()),
        (Selection(numbers=(3,)), (ONE,)),
        (Selection(numbers=(4,), origins=("2001:db8::9",)), (OTHER,)),
        (Selection(names={"tcp": (7, 8)}), (ONE, NOWHERE)),
        (Selection(names={"udp": (7,), "tcp": (9,)}), (OTHER,)),
        (Selection(names={}), ()),
        (Selection(names={"tcp": (7, 8)}, min_bytes=1), (ONE,)),
    ],
)
def test_what_is_asked_for(selection, found):
    matches = selection.matcher()
    assert tuple(filter(matches, ALL)) == found
    assert selection.is_all == (selection == Selection())


def test_a_client_that_is_no_prefix():
    with pytest.raises(ValueError, match="x"):
        Selection(client="x").matcher()


@pytest.mark.parametrize(
    ("order", "first"),
    [("age", ONE), ("bytes", ONE), ("idle", OTHER), ("app", OTHER), ("client", NOWHERE)],
)
def test_orders(order, first):
    kept = FirstSessions(order, 1)
    kept.add(ALL)
    assert (kept.sorted(), kept.total) == ([first], 3)


def test_no_more_is_kept_than_twice_what_is_shown():
    kept = FirstSessions("age", 5)
    for start in range(0, 1000, 10):
        kept.add(msgspec.structs.replace(ONE, age_ms=age) for age in range(start, start + 10))
        assert len(kept._kept) <= 10
    assert ([one.age_ms for one in kept.sorted()], kept.total) == ([999, 998, 997, 996, 995], 1000)
    none = FirstSessions("bytes", 0)
    none.add(ALL)
    assert (none.sorted(), none.total) == ([], 3)


def test_each_order_takes_any_session():
    for order in ORDERS:
        kept = FirstSessions(order, 9)
        kept.add(ALL)
        assert set(kept.sorted()) == set(ALL)


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [("192.0.2.1", 22, "192.0.2.1:22"), ("2001:db8::1", 22, "[2001:db8::1]:22"), ("", 0, "")],
)
def test_addresses_with_ports(host, port, text):
    assert address_port(host, port) == text
