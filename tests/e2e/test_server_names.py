"""Several apps on one port, told apart by what TLS clients ask for: curl and Python's ssl against TLS origins."""

import socket
import ssl
import threading
from contextlib import suppress

import pytest

from spectrum.wire import Header, TlvType, parse
from tests.e2e.daemon import Daemon
from tests.e2e.programs import run
from tests.engine.harness import eventually, port_of


class TlsOrigin:
    """Answers each client with its own name, and the PROXY header that came before the handshake, if any."""

    def __init__(self, folder, name, headers=False):
        self.name, self.headers, self.seen = name, headers, []
        run(
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ),
            *("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-subj", f"/CN={name}"),
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
        self.context.set_alpn_protocols(["h2", "http/1.1", "acme-tls/1"])
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.settimeout(5)
            with connection:
                try:
                    if self.headers:
                        data = connection.recv(1000, socket.MSG_PEEK)
                        header, size = parse(data)
                        connection.recv(size)
                        self.seen.append(header)
                    with self.context.wrap_socket(connection, server_side=True) as tls:
                        tls.recv(1000)
                        body = self.name.encode()
                        tls.sendall(
                            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                        )
                except OSError:
                    pass

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def origins(tmp_path, require):
    require("openssl", "curl")
    made = []

    def build(*names, **options):
        made.extend(TlsOrigin(tmp_path, name, **options) for name in names)
        return made[-len(names) :]

    yield build
    for origin in made:
        origin.close()


def ask(port, name, alpn=(), before=b""):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(before)
        with context.wrap_socket(sock, server_hostname=name) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return tls.recv(1000).rpartition(b"\n")[2].decode()


def app(name, port, origin, more):
    where = f"protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{port_of(origin.socket)}']"
    return f"  {name}: {{{where}{more}}}\n"


def test_names_and_protocols(tmp_path, free_port, origins):
    port = free_port()
    a, b, acme, rest = origins("a", "b", "acme", "rest")
    text = (
        "apps:\n"
        + app("a", port, a, ", sni: [a.example]")
        + app("b", port, b, ', sni: ["*.b.example", b.example]')
        + app("acme", port, acme, ", alpn: [acme-tls/1]")
    )
    with Daemon(tmp_path, text, workers=2) as daemon:
        assert [ask(port, name) for name in ("a.example", "b.example", "x.b.example")] == ["a", "b", "b"]
        assert ask(port, "c.example", ["acme-tls/1"]) == "acme"
        assert ask(port, "a.example", ["acme-tls/1"]) == "a"
        told = run(
            "curl", "-sk", "--http1.1", "--resolve", f"www.b.example:{port}:127.0.0.1", f"https://www.b.example:{port}/"
        )
        assert told.stdout == "b", told.stderr
        for name in ("c.example", None):  # nobody has that name
            with pytest.raises((ConnectionError, ssl.SSLError)):
                ask(port, name)
        events = daemon.wait_for_events(8)
        by_app = {
            (e["Application"], e["ClientTlsClientHelloServerName"], e["Reason"]) for e in events if e["Status"] == 200
        }
        assert {entry[:2] for entry in by_app} >= {("a", "a.example"), ("b", "x.b.example"), ("acme", "c.example")}
        refused = [e for e in events if e["Reason"] == "sni_unknown"]
        assert [(e["Status"], e["Event"]) for e in refused] == [(400, "tlsError")] * 2
        # An app that takes the rest, and one that goes: sessions are told apart anew.
        text = text.replace("  a: ", "  was_a: ").replace("sni: [a.example]", "sni: [other.example]")
        daemon.write(text + app("rest", port, rest, ""))
        assert daemon.reload() == []
        assert [ask(port, name) for name in ("a.example", "b.example", "other.example", None)] == [
            "rest",
            "b",
            "a",
            "rest",
        ]
        # And one alone again, which is asked nothing.
        daemon.write("apps:\n" + app("rest", port, rest, ""))
        assert daemon.reload() == []
        assert ask(port, "b.example") == "rest"
        eventually(lambda: {a["name"]: a["sessions"] for a in daemon.status()["apps"]} == {"rest": 0})


def test_a_hello_in_pieces_and_one_that_never_comes(tmp_path, free_port, origins):
    port = free_port()
    (a,) = origins("a")
    with Daemon(tmp_path, "apps:\n" + app("a", port, a, ", sni: [a.example]")) as daemon:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(0, len(hello), 40):
                sock.sendall(hello[i : i + 40])
            while tls.version() is None:
                incoming.write(sock.recv(10_000))
                with suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(hello[:20])
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert "header_timeout" in {e["Reason"] for e in daemon.wait_for_events(2)}


def test_behind_a_proxy_and_towards_one(tmp_path, free_port, origins):
    port = free_port()
    a, b = origins("a", "b", headers=True)
    more = ", proxy_protocol: v2, accept_proxy_protocol: {from: [127.0.0.0/8]}"
    text = "apps:\n" + app("a", port, a, f"{more}, sni: [a.example]") + app("b", port, b, f"{more}, sni: [b.example]")
    with Daemon(tmp_path, text, workers=2):
        line = b"PROXY TCP4 192.0.2.7 198.51.100.1 1001 443\r\n"
        assert ask(port, "b.example", before=line) == "b"
        (header,) = b.seen
        assert isinstance(header, Header)
        assert (str(header.source.address), header.source.port) == ("192.0.2.7", 1001)
        assert [(tlv.type, tlv.value) for tlv in header.tlvs] == [(TlvType.AUTHORITY, b"b.example")]
