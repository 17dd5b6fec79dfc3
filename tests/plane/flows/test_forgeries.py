"""Datagrams whose source is forged: it is a listener of the same daemon."""

from ipaddress import ip_address

import pytest

from spectrum.core.records.reasons import Reason
from spectrum.wire import simple_proxy
from tests.engine.harness import port_of
from tests.engine.test_datagrams import ask, datagrams
from tests.plane.udp_parts import body, edge, readable


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::", ""])
@pytest.mark.parametrize("more", ["", ", accept_proxy_protocol: {from: ['::/0', 0.0.0.0/0]}"])
def test_a_datagram_from_a_listener_of_our_own_is_refused(make, free_port, origin, host, more, caplog):
    """It would go round for ever between two apps, or between an app and itself."""
    ports = [free_port(), free_port()]
    ips = f"edge_ips: ['{host}'], " if host else ""
    plane = make(
        {f"x{p}": f"protocol: udp/{p}, {ips}origin_direct: ['udp://127.0.0.1:{port_of(origin)}']{more}" for p in ports}
    )
    family = 16 if ":" in host else 4
    loopback = ("::1" if family == 16 else "127.0.0.1") if host != "" else "::ffff:127.0.0.1"
    one, two = plane.sockets.values()

    def refused():
        return sum(taken.ended.get(Reason.OWN_LISTENER, 0) for taken in plane.plane.take_measures().values())

    packed = b"\x7f\0\0\1" if family == 4 else bytes(15) + b"\1"
    for number, (sender, to) in enumerate([(one, ports[1]), (one, ports[0]), (two, ports[0])]):
        header = simple_proxy.pack(packed, packed, 5000 + number, ports[1]) if more else b""
        sender.sendto(header + b"x", (loopback, to))
    plane.loop.process()
    assert refused() == 3
    assert caplog.text.count("a listener of this daemon") == 1
    if more:  # a proxy in front that tells of such a client is not better
        with datagrams("::1" if family == 16 else "127.0.0.1") as client:
            header = simple_proxy.pack(packed, packed, ports[0], ports[1])
            client.sendto(header + b"x", (client.getsockname()[0], ports[1]))
            plane.loop.process()
        assert refused() == 1
    assert not readable(origin, 0)
    assert plane.faults == []


def test_the_same_port_at_another_address_is_somebody_else(make, free_port, origin):
    port = free_port()
    plane = make({"x": body(port, origin)})
    with datagrams("127.0.0.2", port) as client:
        ask(client, edge(plane), b"x")
        plane.loop.process()
        assert origin.recv(10) == b"x"
    wild = make({"x": f"protocol: udp/{free_port()}, origin_direct: ['udp://127.0.0.1:{port_of(origin)}']"})
    own = port_of(edge(wild))
    assert wild.plane._registry.is_own(b"\x7f\0\0\5", own, frozenset)
    assert not wild.plane._registry.is_own(b"\xc0\0\2\1", own, frozenset)
    assert wild.plane._registry.is_own(b"\xc0\0\2\1", own, lambda: {ip_address("192.0.2.1")})


@pytest.mark.parametrize(
    ("prefix", "port", "client_port", "own"),
    [
        ("192.0.2.0/24", None, 53, True),
        ("192.0.2.0/24", 0, 9, True),
        ("192.0.2.0/24", 53, 53, True),
        ("192.0.2.0/24", 53, 54, False),
        ("0.0.0.0/0", 0, 9, False),  # of what the machine routes to itself, which need not be this
    ],
)
def test_addresses_that_bindings_lead_here_are_our_own(make, origin, prefix, port, client_port, own):
    port_text = "" if port is None else f", port: {port}"
    plane = make(
        {
            "x": f"protocol: udp/53, bindings: [{{prefix: {prefix}{port_text}}}], "
            f"origin_direct: ['udp://127.0.0.1:{port_of(origin)}']"
        }
    )
    assert plane.plane._registry.is_own(b"\xc0\0\2\1", client_port, frozenset) is own
    assert client_port in plane.plane._forgeries.ports or not own


def test_ports_of_apps(make, free_port, origin):
    one, two = free_port(), free_port()
    plane = make({"x": body(one, origin)})
    forgeries = plane.plane._forgeries
    assert forgeries.ports == {one}
    plane.apply({"x": body(one, origin), "y": body(two, origin)}, as_difference=True)
    assert forgeries.ports == {one, two}
    plane.apply({"y": body(two, origin)}, as_difference=True)
    assert forgeries.ports == {one, two}, "of removed apps until the next snapshot"
    plane.apply({"y": body(two, origin)})
    assert forgeries.ports == {two}
