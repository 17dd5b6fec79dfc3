"""UDP through the daemon, with programs that nobody here wrote: Knot DNS, dnsperf, aioquic, iperf3, sockperf, SIPp."""

import asyncio
import datetime
import json
import os
import re
import signal
import socket
import ssl
import sys
import time

import pytest
from aioquic.asyncio import connect, serve
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from spectrum.wire import simple_proxy
from tests.e2e.daemon import Daemon
from tests.e2e.programs import Programs, run
from tests.engine.harness import eventually, port_of
from tests.engine.test_datagrams import datagrams


def app(name, port, *origins, more=""):
    where = ", ".join(f"udp://127.0.0.1:{origin}" for origin in origins)
    return f"  {name}: {{protocol: udp/{port}, edge_ips: [127.0.0.1], origin_direct: [{where}]{more}}}\n"


@pytest.fixture
def start(tmp_path):
    """A function that runs a server until the test's end."""
    programs = Programs(tmp_path)
    yield programs.start
    programs.stop()


def echo_once(origin, client, port, data):
    """One round trip through the daemon; return the address that the origin saw."""
    client.sendto(data, ("127.0.0.1", port))
    received, peer = origin.recvfrom(65536)
    origin.sendto(received, peer)
    assert client.recv(65536) == data
    return peer


@pytest.fixture
def knot(require, start, tmp_path, free_port):
    """A DNS server for example.org."""
    require("knotd")
    port = free_port()
    (tmp_path / "example.org.zone").write_text(
        "$ORIGIN example.org.\n@ 60 SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 192.0.2.53\n"
        + "".join(f"h{i} A 192.0.2.{i % 250}\n" for i in range(200))
    )
    (tmp_path / "knot.conf").write_text(
        f"server:\n  rundir: {tmp_path}\n  listen: 127.0.0.1@{port}\n"
        f"database:\n  storage: {tmp_path}\nzone:\n  - domain: example.org\n    storage: {tmp_path}\n"
    )
    start("knotd", "-c", tmp_path / "knot.conf")
    query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\2h1\7example\3org\0\0\1\0\1"

    def answers():
        with datagrams(timeout_s=0.2) as sock:
            sock.sendto(query, ("127.0.0.1", port))
            try:
                return sock.recv(512).startswith(b"\x12\x34")
            except OSError:
                return False

    eventually(answers, 10)
    return port


def test_dns(require, knot, tmp_path, free_port):
    """dnsperf's queries through the edge to Knot, which loses none."""
    require("dnsperf")
    port = free_port()
    (tmp_path / "queries").write_text("".join(f"h{i}.example.org A\n" for i in range(200)))
    with Daemon(tmp_path, "apps:\n" + app("dns", port, knot), workers=2) as daemon:
        words = f"-s 127.0.0.1 -p {port} -d {tmp_path}/queries -c 20 -q 50 -n 100 -t 2"
        done = run("dnsperf", *words.split())
        assert done.returncode == 0, done.stderr
        completed = re.search(r"Queries completed:\s+(\d+)", done.stdout)
        assert completed, done.stdout
        assert int(completed[1]) == 20_000, done.stdout
        assert re.search(r"NOERROR 20000 ", done.stdout), done.stdout
        status = daemon.app("dns")
        assert status["datagrams_from_client"] == status["datagrams_from_origin"] == 20_000
        assert set(status["datagrams_dropped"].values()) <= {0}
        assert status["sessions"] == 20


def _certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


class _Sender(QuicConnectionProtocol):
    """Answers each stream with as many bytes as it asks for."""

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.end_stream:
            self._quic.send_stream_data(event.stream_id, bytes(int(event.data)), end_stream=True)
            self.transmit()


async def test_quic(tmp_path, free_port):
    """aioquic to aioquic: a whole handshake, then 10 MB, over flows of two workers."""
    _certificate(tmp_path)
    port, origin = free_port(), free_port()
    served = QuicConfiguration(is_client=False, alpn_protocols=["x"])
    served.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = await serve("127.0.0.1", origin, configuration=served, create_protocol=_Sender)
    with Daemon(tmp_path, "apps:\n" + app("quic", port, origin), workers=2) as daemon:
        configuration = QuicConfiguration(alpn_protocols=["x"], verify_mode=ssl.CERT_NONE)
        async with connect("127.0.0.1", port, configuration=configuration) as client:
            reader, writer = await client.create_stream()
            writer.write(b"10000000")
            writer.write_eof()
            async with asyncio.timeout(60):
                received = await reader.read()
            assert len(received) == 10_000_000
        status = await asyncio.to_thread(daemon.app, "quic")
        assert status["bytes_from_origin"] > 10_000_000
        assert status["sessions"] == 1
    server.close()


def test_iperf3(require, start, tmp_path, free_port):
    """A TCP control connection and a UDP stream, on the same port of both."""
    require("iperf3")
    port, origin = free_port(), free_port()
    start("iperf3", "-s", "-B", "127.0.0.1", "-p", origin)
    where = f"edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]"
    text = f"apps:\n  control: {{protocol: tcp/{port}, {where}}}\n" + app("stream", port, origin)
    with Daemon(tmp_path, text) as daemon:

        def measured():
            done = run("iperf3", "-c", "127.0.0.1", "-p", port, "-u", "-b", "50M", "-t", 1, "-J")
            return json.loads(done.stdout).get("end", {}).get("sum") if done.returncode == 0 else None

        eventually(lambda: socket.create_connection(("127.0.0.1", origin), 1).close() is None, 10)
        time.sleep(0.3)
        measure = measured()
        assert measure, "iperf3 went through"
        assert measure["packets"] > 50
        # iperf3's own queue is short, and the machine may stall; the edge drops nothing.
        assert measure["lost_packets"] < measure["packets"] / 10
        status = daemon.app("stream")
        assert status["datagrams_from_client"] >= measure["packets"]
        assert set(status["datagrams_dropped"].values()) <= {0}


def test_sockperf(require, start, tmp_path, free_port):
    require("sockperf")
    port, origin = free_port(), free_port()
    start("sockperf", "server", "-i", "127.0.0.1", "-p", origin)
    with Daemon(tmp_path, "apps:\n" + app("perf", port, origin)) as daemon:
        time.sleep(0.5)
        done = run("sockperf", "ping-pong", "-i", "127.0.0.1", "-p", port, "-t", 1, "--msg-size", 200)
        assert done.returncode == 0, done.stdout + done.stderr
        dropped = re.search(
            r"# dropped messages = (\d+); # duplicated messages = (\d+); # out-of-order messages = (\d+)", done.stdout
        )
        assert dropped, done.stdout
        assert dropped.groups() == ("0", "0", "0")
        assert daemon.app("perf")["datagrams_from_origin"] > 1000


def test_sip(require, start, tmp_path, free_port):
    """SIPp's own scenarios: a caller and a callee, whose answers come back to the edge by the Via header's rport."""
    require("sipp")
    port, origin = free_port(), free_port()
    start("sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", origin, "-nostdin")
    with Daemon(tmp_path, "apps:\n" + app("sip", port, origin)) as daemon:
        time.sleep(0.5)
        words = f"-sn uac 127.0.0.1:{port} -i 127.0.0.1 -p {free_port()} -m 20 -r 50 -d 50 -nostdin -timeout 20s"
        done = run("sipp", *words.split(), "-timeout_error", cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        assert "20" in re.search(r"Successful call\s*\|[^|]*\|\s*(\d+)", done.stdout)[1]
        status = daemon.app("sip")
        assert status["datagrams_from_client"] >= 60  # INVITE, ACK, BYE
        assert status["datagrams_from_origin"] >= 60  # 180, 200, 200


def test_nginx_behind_and_before(require, start, tmp_path, free_port):
    """nginx as a UDP proxy on either side: our flows are clients to it, its are clients to us."""
    require("nginx")
    before, port, behind = free_port(), free_port(), free_port()
    module = "/usr/lib/nginx/modules/ngx_stream_module.so"
    tmp_path.chmod(0o755)
    with datagrams() as origin, datagrams() as client:
        (tmp_path / "nginx.conf").write_text(
            f"load_module {module};\ndaemon off;\npid {tmp_path}/nginx.pid;\nerror_log {tmp_path}/error.log;\n"
            f"events {{}}\nstream {{\n"
            f"server {{ listen 127.0.0.1:{before} udp; proxy_pass 127.0.0.1:{port}; }}\n"
            f"server {{ listen 127.0.0.1:{behind} udp; proxy_pass 127.0.0.1:{port_of(origin)}; }}\n}}\n"
        )
        start("nginx", "-c", tmp_path / "nginx.conf")
        with Daemon(tmp_path, "apps:\n" + app("x", port, behind)):
            time.sleep(0.5)
            for number in range(10):
                echo_once(origin, client, before, b"through three proxies %d" % number)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (", proxy_protocol: simple", "told by Simple Proxy Protocol; you wrote to"),
        (", proxy_protocol: simple, origin_socket: shared", "told by Simple Proxy Protocol; you wrote to"),
        (", proxy_protocol: v2", "told by PROXY v2; you wrote to"),
        (", proxy_protocol: v2, proxy_header_datagram: standalone", "told by PROXY v2; you wrote to"),
        (", proxy_protocol: v2, proxy_header_datagram: each", "told by PROXY v2; you wrote to"),
        ("", "no header came with you"),
    ],
)
def test_the_example_origin_tells_the_client(start, tmp_path, free_port, more, told):
    port, origin = free_port(), free_port()
    start(sys.executable, "-m", "spectrum", "origin", "--udp", f"127.0.0.1:{origin}")
    with Daemon(tmp_path, "apps:\n" + app("x", port, origin, more=more)) as daemon, datagrams() as client:
        client.connect(("127.0.0.1", port))

        def answered():
            client.send(b"hello")
            try:
                return client.recv(1000).decode()
            except ConnectionRefusedError:
                return None

        client.settimeout(0.5)
        answer = ""

        def told_so():
            nonlocal answer
            try:
                answer = answered() or ""
            except TimeoutError:
                return False
            return told in answer

        eventually(told_so, 10, lambda: answer)
        if more:
            assert answer.startswith(f"you are 127.0.0.1:{port_of(client)}, ")
            assert f"you wrote to 127.0.0.1:{port};" in answer
        assert answer.endswith("\nhello")
        assert daemon.app("x")["datagrams_dropped"].get("bad_reply", 0) == 0


def test_two_edges_in_a_row(start, tmp_path, free_port):
    """An edge before an edge: the second one's replies carry its own header to nobody but the first one's flow."""
    first, second, origin = free_port(), free_port(), free_port()
    start(sys.executable, "-m", "spectrum", "origin", "--udp", f"127.0.0.1:{origin}")
    (tmp_path / "second").mkdir()
    with (
        Daemon(tmp_path, "apps:\n" + app("x", first, second)),
        Daemon(tmp_path / "second", "apps:\n" + app("x", second, origin, more=", proxy_protocol: simple")),
        datagrams(timeout_s=0.5) as client,
    ):

        def answered():
            client.sendto(b"hello", ("127.0.0.1", first))
            try:
                return client.recv(1000).endswith(b"\nhello")
            except TimeoutError:
                return False

        eventually(answered, 10)


@pytest.mark.parametrize("workers", [1, 2])
def test_flows_survive_a_killed_worker(tmp_path, free_port, workers):
    """Same origin, and the same source port towards it, though the worker was killed without a word."""
    port = free_port()
    with datagrams() as origin, Daemon(tmp_path, "apps:\n" + app("x", port, port_of(origin)), workers) as daemon:
        clients = [datagrams() for _ in range(20)]
        before = []
        for client in clients:
            echo_once(origin, client, port, b"one")
            before.append(echo_once(origin, client, port, b"two"))
        for pid in daemon.worker_pids():
            os.kill(pid, signal.SIGKILL)
        # What is sent meanwhile waits in the queue of the supervisor's socket.
        assert [echo_once(origin, client, port, b"three") for client in clients] == before
        eventually(lambda: daemon.app("x")["sessions"] == 20)
        assert "UDP flows of the former worker" in daemon.messages()
        for client in clients:
            client.close()


def test_a_worker_that_dies_again_and_again_is_replaced_without_its_flows(tmp_path, free_port):
    """What it finds in their table may be what ends it, so the second short life begins with an empty one."""
    port = free_port()
    with (
        datagrams() as origin,
        datagrams() as client,
        Daemon(tmp_path, "apps:\n" + app("x", port, port_of(origin))) as daemon,
    ):
        for _ in range(2):
            echo_once(origin, client, port, b"x")
        for _ in range(3):
            (pid,) = daemon.worker_pids()
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: [p for p in daemon.worker_pids() if p != pid], 10)
        assert daemon.messages().count("continuing 1 UDP flows") < 3
        echo_once(origin, client, port, b"served anew")
        eventually(lambda: daemon.app("x")["sessions"] == 1)


def test_a_reload_touches_no_flow_but_those_of_removed_origins(tmp_path, free_port):
    port = free_port()
    with (
        datagrams() as one,
        datagrams() as two,
        datagrams() as client,
        Daemon(tmp_path, "apps:\n" + app("x", port, port_of(one)), workers=2) as daemon,
    ):
        echo_once(one, client, port, b"a")
        before = echo_once(one, client, port, b"b")
        daemon.write("apps:\n" + app("x", port, port_of(one), port_of(two), more=", timeouts: {idle: 1h}"))
        assert daemon.reload() == []
        assert echo_once(one, client, port, b"c") == before
        daemon.write("apps:\n" + app("x", port, port_of(two)))
        assert daemon.reload() == []
        echo_once(two, client, port, b"d")
        daemon.write("apps:\n" + app("x", port, port_of(two), more=", proxy_protocol: simple"))
        assert daemon.reload() == []
        client.sendto(b"e", ("127.0.0.1", port))
        assert simple_proxy.parse(two.recv(100)).client_port == port_of(client)
        assert daemon.events() == []
        daemon.write("apps:\n" + app("y", free_port(), port_of(two)))
        assert daemon.reload() == []
        (event,) = daemon.wait_for_events(1)
        assert (event["Application"], event["Reason"]) == ("x", "listener_removed")
        assert event["ClientDatagrams"] == 5


def test_placement_is_stable_while_a_worker_is_replaced(tmp_path, free_port):
    """The flows of the worker that lives never meet another one: the group of sockets does not change."""
    port = free_port()
    with datagrams() as origin, Daemon(tmp_path, "apps:\n" + app("x", port, port_of(origin)), workers=2) as daemon:
        clients = [datagrams() for _ in range(40)]
        for client in clients:
            for _ in range(2):
                echo_once(origin, client, port, b"x")
        sessions = [worker["sessions"] for worker in daemon.status()["workers"]]
        assert sum(sessions) == 40
        assert min(sessions) >= 5  # spread over both
        os.kill(daemon.worker_pids()[0], signal.SIGKILL)
        for _ in range(3):
            for client in clients:
                echo_once(origin, client, port, b"x")
        eventually(lambda: [worker["sessions"] for worker in daemon.status()["workers"]] == sessions)
        assert daemon.app("x")["sessions"] == 40
        for client in clients:
            client.close()


def test_a_stop_lets_busy_flows_continue_and_ends_quiet_ones(tmp_path, free_port):
    port = free_port()
    with (
        datagrams() as origin,
        datagrams() as busy,
        datagrams() as quiet,
        Daemon(tmp_path, "apps:\n" + app("x", port, port_of(origin))) as daemon,
    ):
        for client in (busy, quiet):
            echo_once(origin, client, port, b"x")
        daemon.process.terminate()
        for _ in range(30):
            echo_once(origin, busy, port, b"still here")
            time.sleep(0.1)
        assert len(daemon.events()) == 1
        assert daemon.process.wait(10) == 0
        assert [event["Reason"] for event in daemon.events()] == ["drained", "drained"]


def test_ranges_and_both_transports_on_one_port(tmp_path, free_port):
    port, both = free_port(), free_port()
    with datagrams(port=both) as origin, socket.socket() as tcp_origin, datagrams() as client:
        tcp_origin.bind(("127.0.0.1", both))
        tcp_origin.listen()
        where = f"edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{both}]"
        text = f"apps:\n  a: {{protocol: tcp/{port}, {where}}}\n" + app("b", port, both)
        with Daemon(tmp_path, text):
            echo_once(origin, client, port, b"datagram")
            with socket.create_connection(("127.0.0.1", port), 5) as stream:
                stream.sendall(b"stream")
                connection, _ = tcp_origin.accept()
                with connection:
                    assert connection.recv(100) == b"stream"


def test_faults_of_udp_apps_are_reported(tmp_path, free_port):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "apps:\n"
        "  a:\n    protocol: udp/53\n    origin_direct: [tcp://192.0.2.1:53]\n    proxy_protocol: v1\n"
        "  b:\n    protocol: udp/5353\n    origin_direct: [udp://127.0.0.1:53]\n    keepalive: {idle: 5s}\n"
        "    proxy_header_datagram: each\n"
        "  c:\n    protocol: tcp/5354\n    origin_direct: [tcp://192.0.2.1:53]\n    fragments: drop\n"
    )
    done = run(sys.executable, "-m", "spectrum", "check", "-c", path)
    assert done.returncode == 1
    lines = [line.split(": ", 2) for line in done.stderr.splitlines()]
    assert [(where.split(":")[1], what) for where, what, _ in lines] == [
        ("4", "apps.a.origin_direct[0]"),
        ("5", "apps.a.proxy_protocol"),
        ("8", "apps.b.origin_direct[0]"),
        ("9", "apps.b.keepalive"),
        ("10", "apps.b.proxy_header_datagram"),
        ("14", "apps.c.fragments"),
    ]


def test_an_idle_flow_ends_and_says_so(tmp_path, free_port):
    port = free_port()
    with (
        datagrams() as origin,
        datagrams() as client,
        Daemon(tmp_path, "apps:\n" + app("x", port, port_of(origin), more=", timeouts: {idle: 1s}")) as daemon,
    ):
        echo_once(origin, client, port, b"12345")
        (event,) = daemon.wait_for_events(1)
        assert (event["Reason"], event["ClientProto"], event["ClientBytes"]) == ("idle_timeout", "udp", 5)
        assert event["OriginDatagrams"] == 1
