"""TLS that ends at the edge: openssl, curl and Python's ssl as clients; HAProxy and TLS servers as origins."""

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.e2e.daemon import Daemon
from tests.e2e.programs import Programs, run
from tests.engine.harness import eventually, port_of

AUTHORITY = Authority()
ISSUED = AUTHORITY.issue("a.example", "*.a.example")
RSA = AUTHORITY.issue("a.example", kind="rsa")
OTHER = AUTHORITY.issue("b.example")
ALICE = AUTHORITY.issue(common_name="alice")


class Origin:
    """Greets each client with a line, then echoes; with a context it speaks TLS."""

    def __init__(self, context=None):
        self.context = context
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.socket.accept()
                threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock):
        with contextlib.suppress(OSError), sock:
            sock.settimeout(20)
            with self.context.wrap_socket(sock, server_side=True) if self.context else sock as stream:
                stream.sendall(b"hello\n")
                while data := stream.recv(65536):
                    stream.sendall(data)


@pytest.fixture
def origin():
    served = Origin()
    yield served
    served.socket.close()


def write(folder, **issued):
    """Write certificates, and return the section of the file that names them."""
    lines = ["certificates:"]
    for name, one in issued.items():
        chain, key = one.write(folder, name)
        lines.append(f"  {name}: {{certificate: {chain}, key: {key}}}")
    (folder / "ca.pem").write_bytes(AUTHORITY.pem)
    return "\n".join(lines)


def app(port, origin, more="tls: flexible"):
    return (
        f"  p{port}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], "
        f"origin_direct: [tcp://127.0.0.1:{port_of(origin.socket)}], {more}}}"
    )


def trusting(version=None):
    context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    if version:
        context.maximum_version = version
    return context


def greeted(port, context=None, name="a.example", **options):
    """Shake hands and hear the greeting; return the socket, which the caller closes."""
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
        sock = stack.enter_context((context or trusting()).wrap_socket(plain, server_hostname=name, **options))
        assert sock.recv(6) == b"hello\n"
        stack.pop_all()
        return sock


def _listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def s_client(port, *options, sends=""):
    done = run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options, input=sends)
    return done.stdout + done.stderr


@pytest.fixture
def silent():
    """An origin that takes connections and says nothing."""

    class Silent:
        socket = socket.create_server(("127.0.0.1", 0), backlog=512)

    yield Silent
    Silent.socket.close()


def test_versions_and_ciphers_as_a_scanner_sees_them(tmp_path, free_port, origin, silent, require):
    """Every version and every cipher that OpenSSL knows is offered, one by one."""
    require("openssl")
    port, newest, quiet = free_port(), free_port(), free_port()
    apps = [
        app(port, origin),
        app(newest, origin, "tls: flexible, edge_tls: {min_version: 1.3}"),
        app(quiet, silent),
    ]
    text = write(tmp_path, a=ISSUED, rsa=RSA) + "\napps:\n" + "\n".join(apps)
    with Daemon(tmp_path, text):
        weak = ("-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")
        for version, taken in (("-tls1", False), ("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            said = s_client(port, version, *weak)
            assert ("Cipher is (NONE)" not in said) == taken, (version, said)
        assert "Cipher is (NONE)" in s_client(newest, "-tls1_2")
        every = run("openssl", "ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0").stdout.strip().split(":")
        found = {cipher for cipher in every if "Cipher is (NONE)" not in s_client(port, "-tls1_2", "-cipher", cipher)}
        assert found == {
            f"ECDHE-{key}-{cipher}"
            for key in ("ECDSA", "RSA")
            for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
        }
        said = s_client(port, "-tls1_2")
        assert "Compression: NONE" in said
        assert "Secure Renegotiation IS supported" in said  # RFC 5746; asking for one is refused:
        # (with an origin that says nothing, or its bytes would come amid a handshake)
        assert "no renegotiation" in s_client(quiet, "-tls1_2", sends="R\n")


def test_haproxy_learns_of_tls_and_curl_of_its_certificate(tmp_path, free_port, require):
    require("haproxy", "curl")
    port, behind = free_port(), free_port()
    (tmp_path / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\nfrontend f\n"
        f" bind 127.0.0.1:{behind} accept-proxy\n"
        ' http-request return status 200 content-type text/plain lf-string "%[src] %[fc_pp_authority]"\n'
    )
    more = "tls: flexible, proxy_protocol: v2, edge_tls: {alpn: [http/1.1]}"
    body = f"  web: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{behind}], {more}}}"
    text = write(tmp_path, a=ISSUED) + "\napps:\n" + body
    programs = Programs(tmp_path)
    programs.start("haproxy", "-db", "-f", tmp_path / "haproxy.cfg")
    try:
        eventually(lambda: _listens(behind))
        with Daemon(tmp_path, text) as daemon:
            where = ("--resolve", f"x.a.example:{port}:127.0.0.1", f"https://x.a.example:{port}/")
            done = run("curl", "-sv", "--cacert", tmp_path / "ca.pem", *where)
            assert done.stdout == "127.0.0.1 x.a.example", done
            assert "accepted http/1.1" in done.stderr or "accepted to use http/1.1" in done.stderr
            (event,) = daemon.wait_for_events(1)
    finally:
        programs.stop()
    assert event["ClientTlsStatus"] == "OK"
    assert event["ClientTlsProtocol"] == "TLSv1.3"
    assert event["ClientTlsCipher"].startswith("TLS_")
    assert (event["ClientTlsClientHelloServerName"], event["OriginTlsMode"]) == ("x.a.example", "flexible")


def test_certificates_of_origins_and_clients(tmp_path, free_port):
    """strict beside full: an origin of our own authority, one of none; and a client with a certificate, one without."""
    contexts = {}
    for name, issued in (("good", ISSUED), ("stranger", Authority("x").issue("a.example"))):
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(*issued.write(tmp_path, name))
    origins = {name: Origin(context) for name, context in contexts.items()}
    ports = {name: free_port() for name in ("strict", "distrusted", "full", "mutual")}
    ca = tmp_path / "ca.pem"
    named = f"origin_tls: {{server_name: a.example, ca: {ca}}}"
    apps = [
        app(ports["strict"], origins["good"], f"tls: strict, {named}"),
        app(ports["distrusted"], origins["stranger"], f"tls: strict, {named}"),
        app(ports["full"], origins["stranger"], "tls: full"),
        app(ports["mutual"], origins["good"], f"tls: full, edge_tls: {{client_ca: {ca}}}"),
    ]
    with Daemon(tmp_path, write(tmp_path, a=ISSUED) + "\napps:\n" + "\n".join(apps)) as daemon:
        for name in ("strict", "full"):
            greeted(ports[name]).close()
        with pytest.raises((OSError, AssertionError)):
            greeted(ports["distrusted"])
        with pytest.raises((OSError, AssertionError)):
            greeted(ports["mutual"])
        alice = trusting()
        alice.load_cert_chain(*ALICE.write(tmp_path, "alice"))
        greeted(ports["mutual"], alice).close()
        events = {event["Application"] + event["Reason"]: event for event in daemon.wait_for_events(5)}
        status = daemon.app(f"p{ports['distrusted']}")
    strict = next(event for name, event in events.items() if name.startswith(f"p{ports['strict']}"))
    assert (strict["OriginTlsMode"], strict["OriginTlsStatus"]) == ("strict", "OK")
    assert strict["OriginTlsProtocol"] == "TLSv1.3"
    distrusted = events[f"p{ports['distrusted']}origin_certificate"]
    assert (distrusted["Event"], distrusted["Status"]) == ("originError", 520)
    assert "certificate" in distrusted["TlsError"]
    assert distrusted["OriginTlsStatus"] == "HANDSHAKE_FAILED"
    refused = events[f"p{ports['mutual']}client_tls_failed"]
    assert (refused["Event"], refused["Status"], refused["ClientTlsStatus"]) == ("tlsError", 443, "HANDSHAKE_FAILED")
    assert refused["TlsError"] == "peer did not return a certificate"
    assert status["origins"][0]["last_failure"] == "origin_certificate"
    for served in origins.values():
        served.socket.close()


def test_names_and_apps_on_one_port(tmp_path, free_port, origin):
    """A certificate for each name; and beside them an app that passes TLS through."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*AUTHORITY.issue("own.example").write(tmp_path, "own"))
    own, port = Origin(context), free_port()
    apps = [
        app(port, origin, "sni: [a.example, b.example], tls: flexible"),
        app(port, own, "sni: [own.example]").replace(f"p{port}", "own"),
    ]
    with Daemon(tmp_path, write(tmp_path, a=ISSUED, b=OTHER) + "\napps:\n" + "\n".join(apps)) as daemon:
        for name in ("a.example", "b.example", "own.example"):
            greeted(port, name=name).close()
        events = daemon.wait_for_events(3)
    assert [(event["Application"], event["OriginTlsMode"], event["ClientTlsProtocol"]) for event in events] == [
        (f"p{port}", "flexible", "TLSv1.3"),
        (f"p{port}", "flexible", "TLSv1.3"),
        ("own", "off", "none"),
    ]
    assert [event["ClientTlsClientHelloServerName"] for event in events] == ["a.example", "b.example", "own.example"]
    own.socket.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_every_worker_resumes_sessions_while_keys_rotate(tmp_path, free_port, origin, version):
    port = free_port()
    text = write(tmp_path, a=ISSUED) + "\nsession_tickets: {rotate: 1s}\napps:\n" + app(port, origin)
    with Daemon(tmp_path, text, workers=3) as daemon:
        context, session, resumed = trusting(version), None, []
        for _ in range(40):
            with greeted(port, context, session=session) as sock:
                resumed.append(sock.session_reused)
                session = sock.session
            time.sleep(0.05)  # so that two rotations come between
        daemon.wait_for_events(40)
        metrics = daemon.app(f"p{port}")
    assert resumed == [False] + [True] * 39
    assert metrics["tls_handshakes"] == {"full": 1, "resumed": 39}


def test_certificates_change_under_load_and_nobody_notices(tmp_path, free_port, origin):
    port = free_port()
    text = write(tmp_path, a=ISSUED, rsa=RSA) + "\napps:\n" + app(port, origin)
    chain, key = Path(tmp_path / "a.pem"), Path(tmp_path / "a.key")
    seen, failures, stop = set(), [], threading.Event()

    def connect():
        while not stop.is_set():
            try:
                with greeted(port) as sock:
                    sock.sendall(b"x")
                    assert sock.recv(1) == b"x"
                    seen.add(sock.getpeercert()["serialNumber"])
            except (OSError, AssertionError) as exc:
                failures.append(exc)

    with Daemon(tmp_path, text, workers=2) as daemon:
        lasting = greeted(port)
        threads = [threading.Thread(target=connect) for _ in range(4)]
        for thread in threads:
            thread.start()
        serials = {f"{ISSUED.certificate.serial_number:X}"}
        fresh = AUTHORITY.issue("a.example")
        serials.add(f"{fresh.certificate.serial_number:X}")
        chain.write_bytes(fresh.chain)
        key.write_bytes(fresh.key)
        eventually(lambda: {serial.lstrip("0") for serial in seen} == serials, 10)
        chain.write_text("half of a")  # and one that cannot be used
        eventually(lambda: "reload refused" in daemon.messages(), 10)
        assert "certificates.a.certificate: " in daemon.messages()
        assert "not a certificate in PEM form" in daemon.messages()
        stop.set()
        for thread in threads:
            thread.join()
        lasting.sendall(b"still here")
        assert lasting.recv(100) == b"still here"
        lasting.close()
    assert failures == []


def test_slow_handshakes_by_the_thousand(tmp_path, free_port, origin):
    """They take descriptors for as long as they may, and nobody else waits for them."""
    port, count = free_port(), 3000
    more = "tls: flexible, edge_tls: {handshake_timeout: 4s}, limits: {client: {sessions: 3500}}"
    with Daemon(tmp_path, write(tmp_path, a=ISSUED) + "\napps:\n" + app(port, origin, more)) as daemon:
        slow = []
        for number in range(count):
            sock = socket.create_connection(("127.0.0.1", port), 10)
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[: number % 12])
            slow.append(sock)
        began = time.monotonic()
        for _ in range(20):
            greeted(port).close()
        assert time.monotonic() - began < 8  # beside 3,000 others
        eventually(lambda: daemon.app(f"p{port}")["ended"].get("client_tls_timeout", 0) == count, 15)
        for sock in slow:
            sock.close()
        greeted(port).close()
