"""The decisions about sessions, with a real engine and real sockets, without processes."""

import contextlib
import socket
import ssl
import struct
import time
from ipaddress import ip_address

import pytest

from spectrum.core.records.reasons import Reason
from spectrum.engine.tls import KEY_BYTES
from spectrum.link.messages import Challenge
from spectrum.wire import Command, Endpoint, Header, Tlv, TlvType, Transport, parse
from tests.certificates import Authority
from tests.engine.harness import eventually, listening, port_of, repeating, reset
from tests.plane.parts import balanced
from tests.plane.tcp_parts import (
    ACCEPT,
    assert_refused,
    body,
    connect,
    exchange,
    led,
    number,
    received,
    unused_port,
)
from tests.wire.test_client_hello import hello


def test_the_origin_learns_its_client(make, free_port, origin):
    port = free_port()
    with make({"x": body(port, origin, ", proxy_protocol: v2")}).running() as plane:
        data = exchange(port, origin, b"payload")
        eventually(plane.events)
    header, length = parse(data)
    (event,) = plane.events()
    assert data[length:] == b"payload"
    assert (str(header.source.address), header.source.port) == (event["ClientIP"], event["ClientPort"])
    assert header.destination == Endpoint(header.destination.address, port)
    assert (event["Event"], event["Status"], event["Reason"]) == ("disconnect", 200, "client_closed")
    assert (event["Application"], event["ProxyProtocol"], event["ClientBytes"]) == ("x", "v2", 7)
    assert (event["OriginIP"], event["OriginPort"]) == ("127.0.0.1", port_of(origin))
    assert event["ConnectTimestamp"] < event["DisconnectTimestamp"]


def test_a_trusted_header_becomes_the_client(make, free_port, origin):
    port = free_port()
    source = Endpoint(parse(b"PROXY TCP4 192.0.2.7 192.0.2.8 5 6\r\n")[0].source.address, 5)
    tlvs = (Tlv(TlvType.NOOP, b"x"), Tlv(TlvType.AUTHORITY, b"a.example"), Tlv(TlvType.CRC32C, bytes(4)))
    given = Header(2, source, Endpoint(source.address, 6), tlvs=tlvs)
    with make({"x": body(port, origin, ACCEPT + ", proxy_protocol: v2")}).running() as plane:
        data = exchange(port, origin, given.serialise() + b"payload")
        eventually(plane.events)
    header, length = parse(data)
    assert data[length:] == b"payload"
    assert (header.source, header.destination) == (given.source, given.destination)
    assert header.tlvs == (Tlv(TlvType.AUTHORITY, b"a.example"),)
    assert (plane.events()[0]["ClientIP"], plane.events()[0]["ClientPort"]) == ("192.0.2.7", 5)


MAPPED = ip_address("::ffff:198.51.100.7").packed + ip_address("::ffff:192.0.2.1").packed + b"\0\5\0\6"


@pytest.mark.parametrize(
    "spelt",
    [
        b"PROXY TCP4 198.51.100.7 192.0.2.1 5 6\r\n",
        b"PROXY TCP6 ::ffff:198.51.100.7 ::ffff:192.0.2.1 5 6\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + MAPPED,
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28" + MAPPED + b"\xe0\0\1x",
    ],
)
def test_an_ipv4_client_is_one_however_its_proxy_spells_it(make, free_port, origin, spelt):
    ports = [free_port() for _ in range(2)]
    rules = "access_rules: {bad: {target: ip_range, values: ['::ffff:198.51.100.0/120'], action: block}}"
    apps = {
        "open": body(ports[0], origin, ", accept_proxy_protocol: {from: ['::ffff:127.0.0.0/104']}, proxy_protocol: v1"),
        "shut": body(ports[1], origin, ACCEPT + ", ip_firewall: true"),
    }
    with make(apps, more=rules).running() as plane:
        assert exchange(ports[0], origin, spelt) == b"PROXY TCP4 198.51.100.7 192.0.2.1 5 6\r\n"
        with pytest.raises(ConnectionError):
            assert_refused(ports[1], spelt)
        eventually(lambda: len(plane.events()) == 2)
    assert {(event["ClientIP"], event["Reason"]) for event in plane.events()} == {
        ("198.51.100.7", "client_closed"),
        ("198.51.100.7", "client_blocked"),
    }


def test_a_pair_of_two_families_is_an_ipv4_client(make, free_port, origin):
    port = free_port()
    line = b"PROXY TCP6 ::ffff:198.51.100.7 2001:db8::1 5 6\r\n"
    with make({"x": body(port, origin, ACCEPT + ", proxy_protocol: v1")}).running() as plane:
        assert exchange(port, origin, line) == line
        eventually(plane.events)
    assert plane.events()[0]["ClientIP"] == "198.51.100.7"


def test_a_header_may_come_byte_by_byte(make, free_port, origin):
    port = free_port()
    line = b"PROXY TCP4 192.0.2.7 192.0.2.8 5 6\r\n"
    pieces = [line[i : i + 1] for i in range(len(line))]
    with make({"x": body(port, origin, ACCEPT + ", proxy_protocol: v1")}).running(), connect(port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in [*pieces, b"pay", b"load"]:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        assert received(origin) == line + b"payload"


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        Header(2, command=Command.LOCAL, transport=Transport.UNSPEC).serialise(),
        Header(2, transport=Transport.UNSPEC).serialise(),
    ],
)
def test_a_header_that_names_nobody_leaves_the_peer(make, free_port, origin, header):
    port = free_port()
    with make({"x": body(port, origin, ACCEPT)}).running() as plane:
        assert exchange(port, origin, header, b"payload") == b"payload"
        eventually(plane.events)
    assert plane.events()[0]["ClientIP"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "header_invalid"),
        (b"PROXY TCP4 nonsense\r\n", "header_invalid"),
        (
            Header(
                2,
                Endpoint(parse(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n")[0].source.address, 1),
                Endpoint(parse(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n")[0].source.address, 1),
                transport=Transport.DGRAM,
            ).serialise(),
            "header_invalid",
        ),
        (b"PROXY TCP4 1.2", "header_timeout"),
        (b"", "header_timeout"),
    ],
)
def test_bad_headers_refuse(make, free_port, origin, data, reason):
    port = free_port()
    with make({"x": body(port, origin, ACCEPT)}).running() as plane:
        with connect(port) as sock:
            sock.sendall(data)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        eventually(plane.events)
    (event,) = plane.events()
    assert (event["Event"], event["Status"], event["Reason"]) == ("clientFiltered", 403, reason)


def test_a_client_that_ends_before_its_header(make, free_port, origin):
    port = free_port()
    with make({"x": body(port, origin, ACCEPT)}).running() as plane, connect(port) as sock:
        sock.sendall(b"PROXY ")
        sock.shutdown(socket.SHUT_WR)
        eventually(plane.events)
    assert plane.events()[0]["Reason"] == "header_missing"


def test_an_untrusted_peer_is_refused_whatever_it_says(make, free_port, origin):
    port = free_port()
    only = ", accept_proxy_protocol: {from: [192.0.2.0/24]}"
    with make({"x": body(port, origin, only)}).running() as plane:
        with pytest.raises(ConnectionError):
            assert_refused(port, b"PROXY TCP4 192.0.2.7 192.0.2.8 5 6\r\n")
        eventually(plane.events)
    (event,) = plane.events()
    assert (event["Status"], event["Reason"], event["ClientIP"]) == (403, "header_untrusted", "127.0.0.1")
    measures = plane.plane.take_measures()["x"]
    assert measures.ended == {Reason.HEADER_UNTRUSTED: 1}


def test_nobody_notices_an_origin_that_is_gone(make, free_port, origin):
    port = free_port()
    made = make({"x": led(port)}, more=balanced(unused_port(), unused_port(), origin))
    with made.running() as plane:
        for _ in range(12):
            assert exchange(port, origin, b"hello") == b"hello"
        eventually(lambda: len(plane.events()) == 12)
        measures = plane.plane.take_measures()["x"]
    assert {event["OriginPort"] for event in plane.events()} == {port_of(origin)}
    assert measures.failovers > 0
    named = [event["LoadBalancer"] + "/" + event["Pool"] + "/" + event["OriginName"] for event in plane.events()]
    assert named == ["lb/p/c"] * 12
    attempts = [attempt for event in plane.events() for attempt in event.get("Attempts", ())]
    assert len(attempts) == measures.failovers
    assert {(attempt["Name"], attempt["Reason"]) for attempt in attempts} <= {
        ("p/a", "connect_refused"),
        ("p/b", "connect_refused"),
    }
    assert {event["EdgePort"] for event in plane.events()} == {port}
    assert sum(found.failed for found in measures.origins.values()) == measures.failovers
    assert plane.plane._sessions == {}
    assert plane.parts.urgent > 0
    plane.plane.take_connects()
    outcomes = plane.parts.balancers.take_outcomes()
    good = outcomes[number(plane, "c")]
    assert (good.connected, good.connect_failures, good.answered) == (12, 0, 0)
    assert (
        outcomes[number(plane, "a")].connect_failures + outcomes[number(plane, "b")].connect_failures
        == measures.failovers
    )


def test_all_origins_are_gone(make, free_port):
    port = free_port()
    closed = unused_port(), unused_port()
    made = make({"x": led(port)}, more=balanced(*closed))
    with made.running() as plane, pytest.raises(ConnectionResetError), connect(port) as sock:
        sock.recv(1)
    eventually(plane.events)
    (event,) = plane.events()
    assert (event["Reason"], event["OriginIP"], event["ConnectTimestamp"]) == ("connect_refused", "127.0.0.1", None)
    assert event["OriginPort"] in closed
    assert [attempt["Reason"] for attempt in event["Attempts"]] == ["connect_refused"] * len(closed)
    assert plane.plane.take_measures()["x"].active == 0
    assert plane.plane._sessions == {}


# --- TLS --------------------------------------------------------------------------------------------------------------

AUTHORITY = Authority()


@pytest.fixture
def secured(tmp_path):
    """What a file with a certificate begins with, and a client's context that trusts it."""
    chain, key = AUTHORITY.issue("a.example").write(tmp_path, "a")
    context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    return f"certificates: {{a: {{certificate: {chain}, key: {key}}}}}", context


def test_tls_behind_a_header_and_before_one(make, free_port, origin, secured):
    """A trusted proxy's header, then TLS; the origin is told of both, and of TLS by us alone."""
    more, context = secured
    port = free_port()
    source = Endpoint(ip_address("192.0.2.7"), 5)
    tlvs = (Tlv(TlvType.AUTHORITY, b"front.example"), Tlv(TlvType.SSL, bytes(5)), Tlv(0xE0, b"custom"))
    given = Header(2, source, Endpoint(ip_address("192.0.2.8"), 6), tlvs=tlvs)
    app = body(port, origin, ACCEPT + ", proxy_protocol: v2, tls: flexible")
    with make({"x": app}, more=more).running() as plane:
        plain = connect(port)
        plain.sendall(given.serialise())
        with context.wrap_socket(plain, server_hostname="a.example") as client:
            client.sendall(b"payload")
            data = received_until(origin, b"payload")
        eventually(plane.events)
    header, length = parse(data)
    assert data[length:] == b"payload"
    assert (header.source, header.destination) == (source, Endpoint(ip_address("192.0.2.8"), 6))
    found = {tlv.type: tlv.value for tlv in header.tlvs}
    assert (found[TlvType.AUTHORITY], found[0xE0]) == (b"a.example", b"custom")
    assert found[TlvType.SSL][:5] == b"\1\0\0\0\1"
    (event,) = plane.events()
    assert (event["ClientIP"], event["ClientTlsStatus"], event["TlsError"]) == ("192.0.2.7", "OK", "")
    measures = plane.plane.take_measures()["x"]
    assert (measures.handshakes, measures.resumed) == (1, 0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_authority_is_shown_that_a_name_is_ours_and_reaches_no_origin(make, free_port, origin, secured, version):
    """tls-alpn-01, on a port that apps share by name and protocol (RFC 8737)."""
    more, _ = secured
    port = free_port()
    apps = {
        "x": body(port, origin, ", sni: [a.example], alpn: [h2], tls: flexible, edge_tls: {alpn: [h2]}"),
        "y": body(port, origin, ", sni: [b.example]"),
    }
    answer = AUTHORITY.issue("a.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode, context.maximum_version = False, ssl.CERT_NONE, version
    context.set_alpn_protocols(["acme-tls/1"])
    with make(apps, more=more).running() as plane:
        plane.plane._tls.take_challenges([Challenge("a.example", answer.chain, answer.key)])
        with context.wrap_socket(connect(port), server_hostname="a.example") as client:
            assert client.getpeercert(True) == ssl.PEM_cert_to_DER_cert(answer.chain.decode())
            assert client.recv(1) == b"", "it is closed, not reset"
        eventually(plane.events)
    (event,) = plane.events()
    assert (event["Application"], event["Reason"], event["OriginIP"]) == ("x", "acme_challenge", "")


def test_an_app_for_authorities_alone_gets_them(make, free_port, origin, secured):
    """Its origin has an ACME client of its own."""
    more, _ = secured
    port, asked = free_port(), hello("a.example", ["acme-tls/1"])
    apps = {
        "x": body(port, origin, ", sni: [a.example], alpn: [h2], tls: flexible, edge_tls: {alpn: [h2]}"),
        "acme": body(port, origin, ", alpn: [acme-tls/1]"),
    }
    with make(apps, more=more).running() as plane:
        with connect(port) as client:
            client.sendall(asked)
            assert received_until(origin, asked) == asked
        eventually(plane.events)
    (event,) = plane.events()
    assert event["Application"] == "acme"


def test_a_handshake_counts_from_its_beginning(make, free_port, origin, secured):
    more, _ = secured
    port = free_port()
    app = body(port, origin, ", tls: flexible, edge_tls: {handshake_timeout: 500ms}, limits: {sessions: 1}")
    with make({"x": app}, more=more).running() as plane:
        with connect(port) as slow:
            eventually(lambda: plane.relay.active == 1)
            with pytest.raises(ConnectionError), connect(port) as another:
                another.recv(1)
            with pytest.raises(ConnectionError):
                slow.recv(1)
        eventually(lambda: len(plane.events()) == 2)
        with connect(port) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            eventually(lambda: len(plane.events()) == 3)
    found = [(event["Reason"], event["ClientTlsStatus"], event["TlsError"]) for event in plane.events()]
    assert found == [
        ("app_limit", "UNKNOWN", ""),
        ("client_tls_timeout", "HANDSHAKE_FAILED", ""),
        ("client_tls_failed", "HANDSHAKE_FAILED", "http request"),
    ]


NAMED = {"ClientTlsClientHelloServerName": "a.example"}
# What follows `edge_ips` of an app, its origin aside; and what the record of one of its sessions tells.
WAYS = {
    "clear": ("", {}),
    "v2": (", proxy_protocol: v2", {"ProxyProtocol": "v2"}),
    "tls": (", tls: flexible", {"OriginTlsMode": "flexible", "ClientTlsStatus": "OK", **NAMED}),
    "header": (ACCEPT, {"ClientIP": "192.0.2.7"}),
    "names": (", sni: [a.example]", NAMED),
    "led": (", load_balancer: lb", {}),
    "rules": (
        ", ip_firewall: true",
        {"IpFirewall": True, "AccessRule": "known", "ClientMatchedIpFirewall": "WHITELIST_IP"},
    ),
    "held": (", limits: {new_per_second: 20, action: delay}", {}),
}
RECORDED = {
    "ProxyProtocol": "off",
    "OriginTlsMode": "off",
    "ClientTlsStatus": "UNKNOWN",
    "ClientTlsClientHelloServerName": "",
    "ClientIP": "127.0.0.1",
    "IpFirewall": False,
    "AccessRule": "",
    "ClientMatchedIpFirewall": "UNKNOWN",
    "Reason": "client_closed",
    "TlsError": "",
}


def way_of(port, origin, way):
    text = WAYS[way][0]
    if "load_balancer" in text:
        return f"protocol: tcp/{port}, edge_ips: [127.0.0.1]{text}"
    return body(port, origin, text)


def begin(way, port, origin, context):
    """Open a session of an app that serves so, and return both ends once bytes have passed."""
    sock = connect(port)
    if way == "header":
        sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.8 5 6\r\n")
    if way == "tls":
        sock = context.wrap_socket(sock, server_hostname="a.example")
    if way == "names":
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            context.wrap_bio(into, out, server_hostname="a.example").do_handshake()
        sock.sendall(out.read())
    else:
        sock.sendall(b"question")
    other = origin.accept()[0]
    other.settimeout(5)
    assert other.recv(1)
    return sock, other


def test_a_session_is_recorded_as_it_began_and_leaves_nothing_behind(make, free_port, origin, secured):
    """Every way of serving changes to every other one by reloads, while a session goes on."""
    certificates, context = secured
    rules = "access_rules: {known: {target: ip, value: 127.0.0.1, action: allow}}"
    more = "\n".join((certificates, rules, balanced(origin)))
    port = free_port()
    other = body(free_port(), origin, ", ip_firewall: true")  # somebody asks for rules all the time
    plane = make({"other": other}, more=more)
    for before in WAYS:
        plane.apply({"x": way_of(port, origin, before), "other": other}, more=more)
        with plane.running():
            ends = begin(before, port, origin, context)
        for after in WAYS:
            plane.apply({"x": way_of(port, origin, after), "other": other}, more=more)
        ends[0].close()
        with plane.running(), ends[1]:
            while ends[1].recv(1000):
                pass
        eventually(lambda: not plane.relay.active)
    for before, event in zip(WAYS, plane.events(), strict=True):
        assert {name: event[name] for name in RECORDED} == {**RECORDED, **WAYS[before][1]}, before
    assert plane.plane._sessions == {}


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("before", ["tls", "header", "held", "names"])
def test_a_session_that_never_had_an_origin_leaves_nothing_behind(make, free_port, origin, secured, before, how):
    """It ends while something is awaited of it, after a reload that does not ask for that any more."""
    certificates, _ = secured
    port = free_port()
    plane = make(
        {"x": way_of(port, origin, before).replace("new_per_second: 20", "new_per_second: 1")}, more=certificates
    )
    with plane.running():
        socks = [connect(port) for _ in range(2)]
        eventually(lambda: plane.relay.active == 2)
    plane.apply({"x": way_of(port, origin, "clear")}, more=certificates)
    if how == "close":
        plane.relay.close_sessions(Reason.LISTENER_REMOVED)
    else:
        with plane.running():
            for sock in socks:
                reset(sock)
            eventually(lambda: not plane.relay.active)
    assert plane.plane._sessions == {}
    for sock in socks:
        sock.close()


def test_an_origin_that_is_down_is_no_failed_handshake(make, free_port, secured):
    more, context = secured
    port, closed = free_port(), free_port()
    app = f"protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{closed}'], tls: full"
    with make({"x": app}, more=more).running() as plane:
        with contextlib.suppress(OSError), context.wrap_socket(connect(port), server_hostname="a.example") as client:
            client.recv(1)
        eventually(plane.events)
    (event,) = plane.events()
    assert (event["Reason"], event["OriginTlsMode"], event["OriginTlsStatus"]) == ("connect_refused", "full", "UNKNOWN")


def received_until(origin, end):
    """What the origin gets, up to and with `end`."""
    connection, _ = origin.accept()
    with connection:
        connection.settimeout(5)
        data = b""
        while not data.endswith(end):
            data += connection.recv(65536)
        return data


# --- several apps on one port -----------------------------------------------------------------------------------------


def shared(port, **origins):
    """Apps on one port, each for the name that it is called by, in this order; `rest` is for everybody else."""
    return {
        name: body(port, sock, "" if name == "rest" else f", sni: [{name}.example]") for name, sock in origins.items()
    }


@pytest.mark.parametrize("orders", [("ab", "ba"), ("ab", "cab", "bca"), ("ab", "b", "ab"), ("a", "ba", "a", "ab")])
def test_a_port_serves_on_whichever_app_comes_first(make, free_port, orders):
    port = free_port()
    with listening() as a, listening() as b, listening() as c:
        origins = {"a": a, "b": b, "c": c}
        plane = make(shared(port, **{name: origins[name] for name in orders[0]}))
        for order in orders:
            assert plane.apply(shared(port, **{name: origins[name] for name in order})) == []
            with plane.running():
                for name in order:
                    asked = hello(f"{name}.example")
                    assert exchange(port, origins[name], asked) == asked
                eventually(lambda: not plane.relay.active)
        assert {event["Reason"] for event in plane.events()} == {"client_closed"}


@pytest.mark.parametrize(("later", "served"), [("ba", "b"), ("cb", "b"), ("ca", None), ("b", "b"), ("rest", "rest")])
def test_who_waits_while_the_file_changes_is_judged_by_the_new_one(make, free_port, later, served):
    port, asked = free_port(), hello("b.example")
    with listening() as a, listening() as b, listening() as c, listening() as rest:
        origins = {"a": a, "b": b, "c": c, "rest": rest}
        plane = make(shared(port, a=a, b=b))
        with connect(port) as sock:
            with plane.running():
                sock.sendall(asked[:50])
                eventually(lambda: plane.relay.active)
            names = [later] if later in origins else list(later)
            plane.apply(shared(port, **{name: origins[name] for name in names}))
            with plane.running():
                sock.sendall(asked[50:])
                if served:
                    sock.shutdown(socket.SHUT_WR)
                    assert received(origins[served]) == asked
                eventually(lambda: plane.lines)
        (event,) = plane.events()
        assert (event["Reason"], event["Application"]) == (
            ("client_closed", served) if served else ("sni_unknown", "a")
        )
        assert len(plane.plane._registry.listeners) == len(names)
        assert all(app.open == 0 for app in plane.plane._registry.apps())


def test_who_waits_on_a_port_that_is_removed_gets_what_it_asked_for(make, free_port, origin):
    port, asked = free_port(), hello("b.example")
    with listening() as b:
        plane = make(shared(port, a=origin, b=b))
        with connect(port) as sock:
            with plane.running():
                sock.sendall(asked[:50])
                eventually(lambda: plane.relay.active)
            plane.apply({"other": body(free_port(), origin)})
            with plane.running():
                sock.sendall(asked[50:])
                sock.shutdown(socket.SHUT_WR)
                assert received(b) == asked
                eventually(lambda: plane.lines)
        (event,) = plane.events()
        assert (event["Reason"], event["Application"]) == ("client_closed", "b")
        assert len(plane.plane._registry.listeners) == 1


def long_hello(name, size):
    """A ClientHello of OpenSSL that is padded to a size (RFC 7685)."""
    body = hello(name)[9:]
    random_and_id = 34 + 1 + body[34]
    ciphers = 2 + int.from_bytes(body[random_and_id : random_and_id + 2], "big")
    at = random_and_id + ciphers + 2  # no compression
    extensions = body[at + 2 :]
    padding = size - 9 - at - 2 - len(extensions) - 4
    extensions = struct.pack("!HH", 21, padding) + bytes(padding) + extensions  # the name stands behind it
    message = body[:at] + struct.pack("!H", len(extensions)) + extensions
    return in_records(b"\x01" + len(message).to_bytes(3, "big") + message, 16384)


def in_records(message, size):
    """A handshake message in records of so many bytes."""
    parts = [message[i : i + size] for i in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(part)) + part for part in parts)


def header_of(size):
    """A PROXY v2 header of a size."""
    tlv = Tlv(0xE4, bytes(size - 28 - 3))
    ends = Endpoint(ip_address("203.0.113.7"), 5000), Endpoint(ip_address("192.0.2.1"), 443)
    return Header(2, *ends, tlvs=(tlv,)).serialise()


PROXIES = ", accept_proxy_protocol: {from: [127.0.0.0/8]}"


@pytest.mark.parametrize("rest", [False, True])
def test_a_long_hello_is_routed_whatever_stands_before_it(make, free_port, rest):
    port, behind = free_port(), free_port()
    with listening() as a, listening() as other:
        bodies = {"a": body(port, a, ", sni: [a.example]"), "pa": body(behind, a, f", sni: [a.example]{PROXIES}")}
        if rest:
            bodies |= {"rest": body(port, other), "prest": body(behind, other, PROXIES)}
        else:
            bodies |= {"b": body(port, other, ", sni: [b]"), "pb": body(behind, other, f", sni: [b]{PROXIES}")}
        plane = make(bodies)
        with plane.running():
            for size in (1200, 4111, 4112, 4113, 9000, 16384 + 9):
                asked = long_hello("a.example", size)
                assert size <= len(asked) <= size + 5
                pieces = [asked[:4000], asked[4000:]] if size == 9000 else [asked]
                assert exchange(port, a, *pieces) == asked
                for header in (header_of(100), header_of(4112)):
                    assert exchange(behind, a, header + asked) == asked
            eventually(lambda: not plane.relay.active)
        named = {event["ClientTlsClientHelloServerName"] for event in plane.events()}
        assert named == {"a.example"}
        assert not plane.plane._sessions


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_hello_in_many_records(make, free_port, origin, size):
    port = free_port()
    with listening() as rest:
        plane = make({"a": body(port, origin, ", sni: [a.example]"), "rest": body(port, rest)})
        asked = in_records(long_hello("a.example", 600 if size == 1 else 9000)[5:], size)
        with plane.running():
            assert exchange(port, origin, asked[:10], asked[10:-1], asked[-1:]) == asked


@pytest.mark.parametrize(
    "asked", [long_hello("a.example", 16384 + 100), in_records(long_hello("a.example", 16000)[5:], 5)]
)
def test_a_hello_that_is_too_long_is_refused(make, free_port, origin, asked):
    port = free_port()
    with listening() as rest:
        plane = make({"a": body(port, origin, ", sni: [a.example]"), "rest": body(port, rest)})
        with plane.running():
            with pytest.raises(ConnectionError):
                assert_refused(port, asked)
            eventually(lambda: plane.lines)
    assert [(event["Reason"], event["Status"]) for event in plane.events()] == [("hello_too_long", 400)]


def test_a_hello_byte_by_byte_is_looked_at_a_few_times(make, free_port, origin):
    port, looks = free_port(), []
    plane = make({"a": body(port, origin, ", sni: [a.example]"), "b": body(port, origin, ", sni: [b.example]")})
    header = plane.plane.header
    plane.plane.header = lambda *item: looks.append(len(item[2])) or header(*item)
    asked = hello("a.example")
    with plane.running(), connect(port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(asked)):
            sock.sendall(asked[at : at + 1])
        with origin.accept()[0] as served:
            served.settimeout(5)
            assert served.recv(65536) == asked
            sock.sendall(b"and on")  # the kernel waits for no more than before
            assert served.recv(65536) == b"and on"
    assert len(looks) < 6
    assert sum(looks) < 2 * len(asked)


@pytest.mark.parametrize("sent", [b"", b"\x16", hello("a.example")[:-1]])
@pytest.mark.parametrize("header", [b"", b"PROXY TCP4 203.0.113.7 192.0.2.1 5000 443\r\n"])
def test_a_client_that_is_silent_is_for_the_app_that_takes_the_rest(make, free_port, origin, sent, header):
    port = free_port()
    more = ", accept_proxy_protocol: {from: [127.0.0.0/8], timeout: 0.2}, proxy_protocol: v1"
    with listening() as rest:
        plane = make({"a": body(port, origin, more + ", sni: [a.example]"), "rest": body(port, rest, more)})
        if not header:
            for app in plane.plane._registry.apps():
                app.trusted = None
        with plane.running():
            with connect(port) as sock:
                sock.sendall(header + sent)
                with rest.accept()[0] as served:
                    served.settimeout(5)
                    told = served.recv(65536)
                    assert told.startswith(header or b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
                    if sent:
                        assert told.endswith(sent) or served.recv(65536) == sent
                    served.sendall(b"220 hello")
                    assert sock.recv(100) == b"220 hello"
                    sock.sendall(b"HELO")
                    assert served.recv(100) == b"HELO"
            eventually(lambda: plane.lines)
    (event,) = plane.events()
    assert (event["Application"], event["ClientIP"]) == ("rest", "203.0.113.7" if header else "127.0.0.1")


@pytest.mark.parametrize("sent", [b"", b"\x16\x03", b"PROXY TCP4 203.0"])
def test_a_client_that_is_silent_is_refused_where_no_app_takes_the_rest(make, free_port, origin, sent):
    port = free_port()
    more = ", accept_proxy_protocol: {from: [127.0.0.0/8], timeout: 0.2}"
    plane = make({name: body(port, origin, f"{more}, sni: [{name}.example]") for name in "ab"})
    if not sent.startswith(b"P"):
        for app in plane.plane._registry.apps():
            app.trusted = None
    with plane.running():
        with pytest.raises(ConnectionError):
            assert_refused(port, sent)
        eventually(lambda: plane.lines)
    assert [event["Reason"] for event in plane.events()] == ["header_timeout"]


@pytest.mark.parametrize("sent", [b"\x16\x03\x01", b"hi"])
def test_a_client_that_ends_before_its_hello_asks_for_nothing(make, free_port, origin, sent):
    port = free_port()
    with listening() as rest:
        plane = make(shared(port, a=origin, rest=rest))
        with plane.running():
            assert exchange(port, rest, sent) == sent
    other = make(shared(free := free_port(), a=origin, b=origin))
    with other.running(), connect(free) as sock:
        sock.sendall(sent)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        eventually(lambda: other.lines)
    assert [event["Reason"] for event in other.events()] == ["sni_unknown" if sent == b"hi" else "header_missing"]


@pytest.mark.parametrize(("name", "told"), [("Wrong.Example", "wrong.example"), (None, "")])
def test_the_record_has_the_name_that_nobody_has(make, free_port, origin, name, told):
    port = free_port()
    plane = make(shared(port, a=origin, b=origin))
    with plane.running():
        with pytest.raises(ConnectionError):
            assert_refused(port, hello(name))
        eventually(lambda: plane.lines)
    (event,) = plane.events()
    assert (event["Reason"], event["ClientTlsClientHelloServerName"]) == ("sni_unknown", told)


def test_a_client_that_resumes_with_a_long_certificate_gets_the_same_app(make, free_port, tmp_path):
    """The ticket holds the client's certificate: the second ClientHello is longer than 4 kB."""
    port, authority = free_port(), Authority()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue("a.example").write(tmp_path, "server"))
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=authority.pem.decode())
    context = ssl.create_default_context(cadata=authority.pem.decode())
    names = [f"a-client-with-many-names-{number}.example" for number in range(150)]
    context.load_cert_chain(*authority.issue(*names).write(tmp_path, "client"))
    looks, session = [], None
    with listening() as a, listening() as rest:
        plane = make(shared(port, a=a, rest=rest))
        header = plane.plane.header
        plane.plane.header = lambda *item: looks.append(len(item[2])) or header(*item)

        def serve():
            for _ in range(2):
                with server.wrap_socket(a.accept()[0], server_side=True) as served:
                    served.sendall(served.recv(100))

        with plane.running(), repeating(lambda: time.sleep(0.01), serve):
            for resumed in (False, True):
                looks.clear()
                sock = socket.create_connection(("127.0.0.1", port), 5)
                with context.wrap_socket(sock, server_hostname="a.example", session=session) as tls:
                    tls.sendall(b"hello")
                    assert tls.recv(100) == b"hello"
                    session = tls.session
                    assert tls.session_reused == resumed
            assert max(looks) > 4112


@pytest.mark.parametrize(
    ("refuses", "name", "told"), [(True, "b.example", "unrecognized name"), (False, "b.example", ""), (True, None, "")]
)
def test_the_record_has_the_name_whose_handshake_was_refused(make, free_port, origin, secured, refuses, name, told):
    port = free_port()
    text, context = secured
    edge = ", tls: flexible" + (", edge_tls: {unknown_names: refuse}" if refuses else "")
    plane = make({"a": body(port, origin, edge)}, more=text)
    context.check_hostname = False
    with plane.running():
        raised = pytest.raises(ssl.SSLError, match=r"(?i)unrecognized name") if told else contextlib.nullcontext()
        with raised, context.wrap_socket(connect(port), server_hostname=name):
            origin.accept()[0].close()
        eventually(lambda: plane.lines)
    (event,) = plane.events()
    assert (event["TlsError"], event["ClientTlsClientHelloServerName"]) == (told, name or "")
    assert (event["Reason"] == "client_tls_failed") == bool(told)


def test_a_long_hello_is_routed_to_an_app_that_ends_tls(make, free_port, origin, tmp_path):
    """The ticket that it resumes with is ours, and holds the client's certificate."""
    port = free_port()
    chain, key = AUTHORITY.issue("a.example").write(tmp_path, "a")
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.pem)
    context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    names = [f"a-client-with-many-names-{number}.example" for number in range(150)]
    context.load_cert_chain(*AUTHORITY.issue(*names).write(tmp_path, "client"))
    text = f"certificates: {{a: {{certificate: {chain}, key: {key}}}}}"
    tls = f", sni: [a.example], tls: flexible, edge_tls: {{client_ca: {tmp_path}/ca.pem}}"
    looks, session = [], None
    with listening() as rest:
        plane = make({"a": body(port, origin, tls), "rest": body(port, rest)}, more=text)
        plane.plane._tls.tickets.set_keys([bytes(KEY_BYTES)])
        header = plane.plane.header
        plane.plane.header = lambda *item: looks.append(len(item[2])) or header(*item)
        with plane.running():
            for resumed in (False, True):
                looks.clear()
                with context.wrap_socket(connect(port), server_hostname="a.example", session=session) as c:
                    c.sendall(b"hello")
                    with origin.accept()[0] as served:
                        assert served.recv(100) == b"hello"
                        served.sendall(b"x")
                        assert c.recv(1) == b"x"
                    session = c.session
                    assert c.session_reused == resumed
    assert max(looks) > 4112


# --- origins with bounds ----------------------------------------------------------------------------------------------


def bounded(*origins, most=1, queue="size: 2, timeout: 5s"):
    """A pool whose origins take `most` sessions each."""
    listed = ", ".join(
        f"{{name: {name}, address: 127.0.0.1, port: {port_of(origin)}, max_sessions: {most}}}"
        for name, origin in zip("abc", origins, strict=False)
    )
    return f"pools: {{p: {{origins: [{listed}]}}}}\nload_balancers: {{lb: {{default_pools: [p], queue: {{{queue}}}}}}}"


def test_a_full_origin_is_passed_over(make, free_port, origin):
    port = free_port()
    with listening() as other:
        made = make({"x": led(port)}, more=bounded(origin, other))
        with made.running() as plane, connect(port), connect(port):
            origin.accept()[0].close()
            other.accept()[0].close()
    assert plane.plane.take_measures()["x"].queued == 0


def test_who_finds_every_origin_full_waits_in_order(make, free_port, origin):
    port = free_port()
    with make({"x": led(port)}, more=bounded(origin)).running() as plane:
        one = connect(port)
        first, _ = origin.accept()
        waiting = []
        for place in range(2):
            waiting.append(connect(port))
            waiting[-1].sendall(b"%d" % place)
            eventually(lambda: plane.plane._queues.length("lb") == place + 1)  # noqa: B023
        with pytest.raises(ConnectionError), connect(port) as refused:
            refused.recv(1)
        eventually(plane.events)
        assert [event["Reason"] for event in plane.events()] == ["origin_full"]
        for place, former in enumerate((one, waiting[0])):
            former.close()
            first.close()
            first, _ = origin.accept()
            assert first.recv(9) == b"%d" % place
        waiting[1].close()
        first.close()
        eventually(lambda: len(plane.events()) == 4)
        measures = plane.plane.take_measures()["x"]
        assert (measures.queued, measures.ended[Reason.ORIGIN_FULL]) == (2, 1)
        assert measures.queue_wait_s > 0
        assert not plane.plane._waiting
        assert plane.plane._sessions == {}


def test_waiting_clients_time_out_and_those_that_leave_are_forgotten(make, free_port, origin):
    port = free_port()
    made = make({"x": led(port)}, more=bounded(origin, queue="timeout: 300ms"))
    with connect(port), connect(port) as late, connect(port) as leaves, made.running() as plane:
        eventually(lambda: plane.plane._queues.length("lb") == 2)
        reset(leaves)
        with pytest.raises(ConnectionError):
            late.recv(1)
        eventually(lambda: len(plane.events()) == 2)
        assert not plane.plane._waiting
        assert sorted(event["Reason"] for event in plane.events()) == ["client_reset", "queue_timeout"]
        (told,) = [event for event in plane.events() if event["Reason"] == "queue_timeout"]
        assert (told["Event"], told["Status"]) == ("originError", 524)


def test_a_queue_of_size_0_lets_nobody_wait(make, free_port, origin):
    port = free_port()
    with make({"x": led(port)}, more=bounded(origin, queue="size: 0")).running() as plane, connect(port):
        with pytest.raises(ConnectionError), connect(port) as refused:
            refused.recv(1)
        eventually(plane.events)
        assert [event["Reason"] for event in plane.events()] == ["origin_full"]


def test_a_reload_that_removes_the_load_balancer_empties_its_queue(make, free_port, origin):
    port = free_port()
    plane = make({"x": led(port)}, more=bounded(origin))
    with plane.running():
        clients = connect(port), connect(port)
        eventually(lambda: plane.plane._queues.length("lb") == 1)
    plane.apply({"y": body(free_port(), origin)})
    with clients[0], clients[1], plane.running():
        eventually(lambda: not plane.plane._waiting)
        eventually(plane.events)
        assert [event["Reason"] for event in plane.events()] == ["no_origin"]


def test_who_finds_the_origin_of_an_app_full_waits(make, free_port, origin):
    port = free_port()
    bounds = ", origin_max_sessions: 1, queue: {size: 1}"
    with make({"x": body(port, origin, bounds)}).running() as plane, connect(port) as one:
        first, _ = origin.accept()
        with connect(port) as two:
            two.sendall(b"2")
            eventually(lambda: plane.plane._queues.length("app x") == 1)
            with pytest.raises(ConnectionError), connect(port) as refused:
                refused.recv(1)
            first.close()
            one.close()
            second, _ = origin.accept()
            with second:
                assert second.recv(9) == b"2"
        eventually(lambda: len(plane.events()) == 3)
        assert sorted(event["Reason"] for event in plane.events()) == ["origin_closed", "origin_closed", "origin_full"]
        measures = plane.plane.take_measures()["x"]
        assert (measures.queued, measures.ended[Reason.ORIGIN_FULL]) == (1, 1)
        assert plane.parts.balancers.take_outcomes() == {}  # which are of origins in pools


# --- retry budgets ----------------------------------------------------------------------------------------------------


def test_a_pool_whose_budget_is_spent_gets_no_further_connects(make, free_port):
    port = free_port()
    pool = balanced(free_port(), free_port(), pool=", retry_budget: {percent: 0, min_per_second: 0.1}")
    with make({"x": led(port)}, more=pool).running() as plane:
        for count in range(1, 4):
            with contextlib.suppress(ConnectionError), connect(port) as client:
                client.recv(1)
            eventually(lambda: len(plane.events()) == count)  # noqa: B023
        first, *over = plane.events()
        assert first["Reason"] == "connect_refused"  # one in ten seconds goes on
        assert len(first["Attempts"]) == 2
        assert {(event["Reason"], event["Event"], event["Status"]) for event in over} == {
            ("retry_budget", "originError", 524)
        }
        assert [attempt["Reason"] for attempt in over[0]["Attempts"]] == ["connect_refused"]
        measures = plane.plane.take_measures()["x"]
        assert measures.failovers == 1
        assert measures.ended[Reason.RETRY_BUDGET] == 2


def test_another_pool_has_a_budget_of_its_own(make, free_port, origin):
    port, nobody = free_port(), free_port()
    spent = "{percent: 0, min_per_second: 0}"
    pools = f"""
pools:
  p: {{origins: [{{name: a, address: 127.0.0.1, port: {nobody}}}, {{name: b, address: 127.0.0.1, port: {nobody}}}],
       retry_budget: {spent}}}
  q: {{origins: [{{name: a, address: 127.0.0.1, port: {port_of(origin)}}}]}}
load_balancers: {{lb: {{default_pools: [p, q], adaptive_routing: {{failover_across_pools: true}}}}}}"""
    with make({"x": led(port)}, more=pools).running() as plane, connect(port) as client:
        client.sendall(b"x")
        served, _ = origin.accept()
        with served:
            assert served.recv(1) == b"x"
        assert plane.plane.take_measures()["x"].failovers == 1


def test_a_client_with_tls_waits_after_its_handshake(make, free_port, origin, secured):
    port = free_port()
    more, context = secured
    made = make({"x": led(port, ", tls: flexible")}, more=f"{more}\n{bounded(origin)}")
    with made.running() as plane:
        one = context.wrap_socket(connect(port), server_hostname="a.example")
        with contextlib.closing(one):
            one.sendall(b"1")
            first, _ = origin.accept()
            with context.wrap_socket(connect(port), server_hostname="a.example") as two:
                two.sendall(b"2")
                eventually(lambda: plane.plane._queues.length("lb") == 1)
                first.close()
                one.close()
                second, _ = origin.accept()
                with second:
                    assert second.recv(9) == b"2"
