"""Datagrams that come with a header: flows by the client that it tells, in every dialect, and what is wrong with it."""

from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.engine.flow_keeper import Mode
from spectrum.wire import Command, Endpoint, Header, Transport, simple_proxy
from spectrum.wire.address import unmapped
from tests.engine.harness import LOOPBACK, eventually, port_of
from tests.engine.test_datagrams import Recorder, ask, datagrams, target

EDGE = (ip_address("198.51.100.1"), 53)
ONE, TWO = (ip_address("192.0.2.1"), 1001), (ip_address("192.0.2.2"), 1002)
SIX = (ip_address("2001:db8::1"), 1003)
EDGE6 = (ip_address("2001:db8::53"), 53)


def v2(client, edge=EDGE, command=Command.PROXY):
    if command is Command.LOCAL:
        return Header(2, command=Command.LOCAL, transport=Transport.UNSPEC).serialise()
    return Header(2, Endpoint(*client), Endpoint(*edge), command, Transport.DGRAM).serialise()


def spp(client, edge=EDGE):
    return simple_proxy.pack(client[0].packed, edge[0].packed, client[1], edge[1])


def told(recorder):
    return [
        (ip_address(client), port, ip_address(edge), edge_port)
        for _, _, client, port, edge, edge_port, _ in recorder.flows
    ]


@contextmanager
def edge_of(origin, **options):
    recorder = Recorder([target(origin)], **options)
    recorder.trusted = (LOOPBACK,)
    recorder.engine.set_app(0, 7, True)
    with recorder.listen() as edge, recorder.running():
        yield recorder, edge


@pytest.fixture
def origin():
    with datagrams() as sock:
        yield sock


def heard(origin):
    data, peer = origin.recvfrom(2000)
    return data, peer


def test_simple_proxy_tells_clients_apart_behind_one_socket(origin):
    with edge_of(origin) as (recorder, edge), datagrams() as proxy:
        peers = {}
        for client, word in ((ONE, b"one"), (TWO, b"two"), (SIX, b"six"), (ONE, b"one"), (TWO, b"")):
            header = spp(client, EDGE6 if client is SIX else EDGE)
            ask(proxy, edge, header + word)
            data, peer = heard(origin)
            assert data == word
            assert peers.setdefault(client, peer) == peer  # its own flow, its own source port
            origin.sendto(b"re:" + word, peer)
            assert proxy.recv(2000) == header + b"re:" + word  # the header that the proxy asks for
        assert len(set(peers.values())) == 3
        assert told(recorder) == [(*ONE, *EDGE), (*TWO, *EDGE), (*SIX, *EDGE6)]


def test_proxy_v2_before_each_datagram(origin):
    with edge_of(origin) as (recorder, edge), datagrams() as proxy:
        for client in (ONE, TWO, ONE, TWO):
            ask(proxy, edge, v2(client) + b"x")
            data, peer = heard(origin)
            assert data == b"x"
            origin.sendto(b"re", peer)
            assert proxy.recv(2000) == b"re"
        assert told(recorder) == [(*ONE, *EDGE), (*TWO, *EDGE)]


def test_proxy_v2_before_the_first_datagram_and_alone(origin):
    with edge_of(origin) as (recorder, edge), datagrams() as first, datagrams() as alone:
        ask(first, edge, v2(ONE) + b"a")
        ask(alone, edge, v2(SIX, EDGE6))
        peers = {heard(origin)}
        for proxy, word in ((alone, b"b"), (first, b"c"), (alone, b"d")):
            ask(proxy, edge, word)
            peers.add(heard(origin))
        assert {data for data, _ in peers} == {b"a", b"b", b"c", b"d"}
        assert len({peer for _, peer in peers}) == 2
        assert told(recorder) == [(*ONE, *EDGE), (*SIX, *EDGE6)]


def test_a_proxys_port_that_is_used_for_another_client(origin):
    with edge_of(origin) as (_, edge), datagrams() as proxy:
        ask(proxy, edge, v2(ONE) + b"a")
        one = heard(origin)[1]
        ask(proxy, edge, v2(TWO) + b"b")
        two = heard(origin)[1]
        assert one != two
        ask(proxy, edge, b"c")
        assert heard(origin) == (b"c", two)
        ask(proxy, edge, v2(ONE))  # a header alone, again of the first one
        ask(proxy, edge, b"d")
        assert heard(origin) == (b"d", one)


def test_a_local_header_tells_of_the_proxy_itself(origin):
    with edge_of(origin) as (recorder, edge), datagrams() as proxy:
        ask(proxy, edge, v2(None, command=Command.LOCAL) + b"probe")
        assert heard(origin)[0] == b"probe"
        assert told(recorder)[0][:2] == (ip_address("127.0.0.1"), port_of(proxy))


@pytest.mark.parametrize(
    "datagram",
    [
        b"no header",
        b"",
        v2(ONE)[:-1],  # cut
        v2(ONE)[:12] + b"\x11" + v2(ONE)[13:] + b"x",  # version 1
        v2(ONE)[:12] + b"\x22" + v2(ONE)[13:] + b"x",  # no such command
        v2(ONE)[:13] + b"\x32" + v2(ONE)[14:] + b"x",  # a UNIX socket's
        v2(ONE)[:13] + b"\x22" + v2(ONE)[14:] + b"x",  # too short for IPv6
        spp(ONE)[:-1],
    ],
)
def test_without_a_header_that_can_be_read_nothing_passes(origin, datagram):
    with edge_of(origin) as (recorder, edge), datagrams() as proxy:
        ask(proxy, edge, datagram)
        eventually(lambda: recorder.drops() == {"bad_header": 1})
        assert recorder.flows == []


def test_another_proxy_takes_over_a_client_only_if_it_is_believed(origin):
    with (
        edge_of(origin) as (recorder, edge),
        datagrams() as proxy,
        datagrams() as other,
        datagrams("127.0.0.2") as liar,
    ):
        ask(proxy, edge, spp(ONE) + b"a")
        peer = heard(origin)[1]
        ask(liar, edge, spp(ONE) + b"forged")
        eventually(lambda: recorder.drops().get("untrusted") == 1)
        origin.sendto(b"to the proxy", peer)
        assert proxy.recv(2000)[38:] == b"to the proxy"
        ask(other, edge, spp(ONE) + b"b")
        assert heard(origin) == (b"b", peer)
        origin.sendto(b"to the other", peer)
        assert other.recv(2000)[38:] == b"to the other"


def test_who_told_is_said_to_the_handler(origin):
    with edge_of(origin) as (recorder, edge), datagrams() as proxy:
        ask(proxy, edge, spp(ONE) + b"a")
        heard(origin)
        assert recorder.flows[0][6] == LOOPBACK


def test_a_flow_without_a_header_names_nobody(origin):
    recorder = Recorder([target(origin)])
    with recorder.listen() as edge, recorder.running(), datagrams() as client:
        ask(client, edge, spp(ONE) + b"a")
        assert heard(origin)[0] == spp(ONE) + b"a"
        assert recorder.flows[0][6] is None


def test_headers_come_in_and_go_out(origin):
    header = simple_proxy.pack(TWO[0].packed, EDGE[0].packed, TWO[1], EDGE[1])
    with edge_of(origin, mode=Mode.SIMPLE, header=header) as (_, edge), datagrams() as proxy:
        ask(proxy, edge, v2(ONE) + b"a")
        data, peer = heard(origin)
        assert data == header + b"a"
        origin.sendto(header + b"b", peer)
        assert proxy.recv(2000) == b"b"


def test_a_replacement_continues_flows_by_their_peer(origin):
    first = Recorder([target(origin)])
    first.trusted = (LOOPBACK,)
    first.engine.set_app(0, 7, True)
    edge = first.listen()
    with datagrams() as proxy, edge:
        with first.running():
            ask(proxy, edge, v2(ONE) + b"a")
            peer = heard(origin)[1]
            origin.sendto(b"b", peer)
            assert proxy.recv(100) == b"b"
            ask(proxy, edge, b"c")
            assert heard(origin) == (b"c", peer)
        handed = dict(first.engine.release())
        second = Recorder([target(origin)], memory=first.memory)
        second.trusted = (LOOPBACK,)
        second.engine.set_app(0, 7, True)
        second.engine.add_listener(edge.fileno(), 0, LOOPBACK, port_of(edge))
        second.engine.inherit(handed)
        ((name, local, port, _, _),) = second.engine.recovered()
        assert (local, port) == (LOOPBACK, port_of(edge))
        second.engine.adopt(name, 0, second.targets[0])
        with second.running():
            ask(proxy, edge, b"d")
            assert heard(origin) == (b"d", peer)
            origin.sendto(b"e", peer)
            assert proxy.recv(100) == b"e"


@st.composite
def told_by(draw):
    four = draw(st.booleans())
    numbers = st.integers(1, 2**32 - 2) if four else st.integers(2**33, 2**128 - 1)
    client, edge = (ip_address(draw(numbers)) for _ in range(2))
    return (client, draw(st.integers(1, 65535))), (edge, draw(st.integers(1, 65535))), draw(st.booleans())


@given(told_by(), st.binary(min_size=1, max_size=1000))
def test_what_the_codecs_write_is_what_is_read(header, payload):
    client, edge_told, simple = header
    with datagrams() as sock, edge_of(sock) as (recorder, edge), datagrams() as proxy:
        ask(proxy, edge, (spp if simple else v2)(client, edge_told) + payload)
        assert heard(sock)[0] == payload
        assert told(recorder) == [(unmapped(client[0]), client[1], unmapped(edge_told[0]), edge_told[1])]
