"""Monitors against real servers, and against HAProxy's verdict on the same ones."""

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.namespace import Namespace
from tests.e2e.programs import Programs
from tests.e2e.test_balancing import QUICK, TOLD_S, healthy, metrics_of, settle
from tests.engine.harness import eventually, repeating
from tests.probes.test_http import certificate

FAST = "interval: 0.3, timeout: 0.5, retries: 0"


@pytest.fixture
def programs(tmp_path):
    started = Programs(tmp_path)
    yield started
    started.stop()


def file_of(monitors, pools, more=""):
    """Each pool has one origin, and a monitor of the same name."""
    first = next(iter(pools))
    return f"""
monitors: {{{", ".join(f"{name}: {{{body}, {FAST}}}" for name, body in monitors.items())}}}
pools: {{{", ".join(f"{name}: {{origins: [{{name: o, {where}}}], monitor: {name}}}" for name, where in pools.items())}}}
load_balancers: {{lb: {{default_pools: [{", ".join(pools)}], fallback_pool: {first}}}}}
apps: {{x: {{protocol: tcp/4711, edge_ips: [127.9.9.9], load_balancer: lb}}}}
{more}"""


def verdicts(daemon):
    """Per pool, the health of its one origin and the reason."""
    origins = {pool["name"]: pool["origins"][0] for pool in daemon.status()["pools"]}
    return {name: (origin["health"], origin["reason"]) for name, origin in origins.items()}


def settled(daemon):
    """Wait until every origin was probed; return the verdicts."""
    eventually(lambda: not any(health == "unknown" for health, _ in verdicts(daemon).values()), 10)
    return verdicts(daemon)


# --- real servers -----------------------------------------------------------------------------------------------------

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{expired} ssl; listen 127.0.0.1:{proxied} proxy_protocol;
    ssl_certificate {folder}/old.example.pem; ssl_certificate_key {folder}/old.example.pem;
    location / {{ return 200 "All systems GO"; }}
    location /broken {{ return 503; }}
    location /moved {{ return 302 /; }}
  }}
}}
"""


@pytest.fixture
def nginx(programs, tmp_path, free_port, require):
    """Its ports: plain, with an expired certificate, and behind PROXY protocol."""
    require("nginx")
    ports = {name: free_port() for name in ("plain", "expired", "proxied")}
    certificate(tmp_path, "old.example", -1)
    (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, **ports))
    programs.start("nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "nginx-start.log")
    eventually(lambda: is_open(ports["plain"]))
    return ports


def is_open(port, address="127.0.0.1"):
    with socket.socket() as sock:
        return sock.connect_ex((address, port)) == 0


def test_http_and_https(nginx, tmp_path):
    where = {name: f"address: 127.0.0.1, port: {port}" for name, port in nginx.items()}
    cases = {
        "fine": ("type: http, expected_body: systems go", where["plain"], ("healthy", None)),
        "body": ("type: http, expected_body: systems down", where["plain"], ("down", "the body is not as expected")),
        "broken": ("type: http, path: /broken", where["plain"], ("down", "status 503")),
        "allowed": ("type: http, path: /broken, expected_codes: 5xx", where["plain"], ("healthy", None)),
        "moved": ("type: http, path: /moved", where["plain"], ("down", "status 302")),
        "followed": ("type: http, path: /moved, follow_redirects: true", where["plain"], ("healthy", None)),
        "expired": ("type: https, sni: old.example", where["expired"], ("down", "tls: certificate has expired")),
        "insecure": ("type: https, allow_insecure: true", where["expired"], ("healthy", None)),
        "header": ("type: http, proxy_protocol: v2", where["proxied"], ("healthy", None)),
        "no_header": ("type: http, proxy_protocol: 'off'", where["proxied"], ("down", None)),
    }
    monitors = {name: case[0] for name, case in cases.items()}
    trusting = {"SSL_CERT_FILE": str(tmp_path / "old.example.pem")}
    body = file_of(monitors, {name: case[1] for name, case in cases.items()})
    with Daemon(tmp_path, body, env=trusting) as daemon:
        found = settled(daemon)
        assert found.pop("no_header")[0] == "down"
        assert found == {name: case[2] for name, case in cases.items() if name != "no_header"}
        pools = {pool["name"]: pool["origins"][0] for pool in daemon.status()["pools"]}
        assert pools["insecure"]["certificate_expires_in_days"] < 0


@pytest.mark.parametrize("said", ["fine", "full"])
def test_smtp(programs, tmp_path, free_port, said):
    port = free_port()
    if said == "fine":
        programs.start(sys.executable, "-m", "aiosmtpd", "-n", "-l", f"127.0.0.1:{port}")
        eventually(lambda: is_open(port), 10)
        expected = ("healthy", None)
    else:
        expected = ("down", "greeting: 421 too busy")
    with ExitStack() as stack:
        if said == "full":
            stack.enter_context(saying(port, b"421 too busy\r\n"))
        daemon = stack.enter_context(
            Daemon(tmp_path, file_of({"mail": "type: smtp"}, {"mail": f"address: 127.0.0.1, port: {port}"}))
        )
        assert settled(daemon)["mail"] == expected


@contextmanager
def saying(port, words, reset=False, address="127.0.0.1"):
    """A TCP server that says `words` to everybody and nothing more; with `reset` it resets who asks."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(64)
    held = []
    listener.settimeout(0.1)

    def serve():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        if reset:  # as soon as it is asked for something
            connection.settimeout(1)
            with suppress(OSError):
                connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
            return
        connection.sendall(words)
        held.append(connection)

    try:
        with repeating(serve):
            yield
    finally:
        for sock in (*held, listener):
            sock.close()


# --- the same as HAProxy ----------------------------------------------------------------------------------------------

HAPROXY = """
global
  stats socket {folder}/haproxy.sock mode 600
defaults
  mode tcp
  timeout connect 400ms
  timeout client 1s
  timeout server 1s
  timeout check 500ms
  default-server check inter 300ms rise 1 fall 1
{backends}
"""

# What the server does; our monitor; HAProxy's backend for the same.
HTTP = "mode http\n  option httpchk GET /\n  http-check expect status 200"
STATES = {
    "tcp_open": ("silent", "type: tcp", ""),
    "tcp_closed": (None, "type: tcp", ""),
    "tcp_says": (b"+PONG\r\n", "type: tcp, expect: +PONG", "option tcp-check\n  tcp-check expect string +PONG"),
    "tcp_says_else": (b"-ERR\r\n", "type: tcp, expect: +PONG", "option tcp-check\n  tcp-check expect string +PONG"),
    "http_200": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "type: http", HTTP),
    "http_500": (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", "type: http", HTTP),
    "http_404": (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", "type: http", HTTP),
    "http_silent": ("silent", "type: http", HTTP),
    "http_other": (b"SSH-2.0-OpenSSH_9.2\r\n", "type: http", HTTP),
    "http_closed": (None, "type: http", HTTP),
    "http_reset": ("reset", "type: http", HTTP),
    "http_2xx": (
        b"HTTP/1.1 204 OK\r\n\r\n",
        "type: http, expected_codes: 2xx",
        HTTP.replace("status 200", "status 200-299"),
    ),
    "http_body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall fit",
        "type: http, expected_body: all fit",
        HTTP.replace("status 200", "string all\\ fit"),
    ),
    "http_wrong_body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick",
        "type: http, expected_body: all fit",
        HTTP.replace("status 200", "string all\\ fit"),
    ),
    "smtp_closed": (None, "type: smtp", "option smtpchk HELO x"),
    "smtp_busy": (b"421 no\r\n", "type: smtp", "option smtpchk HELO x"),
    "smtp_silent": ("silent", "type: smtp", "option smtpchk HELO x"),
}


def haproxy_says(path):
    """Per backend, whether its one server is up; None while it was not checked."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"show servers state\n")
        text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    rows = [line.split() for line in text.splitlines() if line and line[0].isdigit() and len(line) > 2]
    # srv_op_state is 2 for up, 0 for down; srv_check_result is 1 before a check ended (management.txt).
    return {row[1]: (None if row[11] == "1" else row[5] == "2") for row in rows if len(row) > 12}


def test_the_same_verdicts_as_haproxy(programs, tmp_path, free_port, require):
    require("haproxy")
    ports = {name: free_port() for name in STATES}
    backends = "\n".join(
        f"backend {name}\n  {check}\n  server o 127.0.0.1:{ports[name]}" for name, (_, _, check) in STATES.items()
    )
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(folder=tmp_path, backends=backends))
    monitors = {name: monitor for name, (_, monitor, _) in STATES.items()}
    with ExitStack() as stack:
        for name, (what, _, _) in STATES.items():
            if what is not None:
                words = b"" if isinstance(what, str) else what
                stack.enter_context(saying(ports[name], words, reset=what == "reset"))
        programs.start("haproxy", "-f", tmp_path / "haproxy.cfg")
        origins = {name: f"address: 127.0.0.1, port: {port}" for name, port in ports.items()}
        daemon = stack.enter_context(Daemon(tmp_path, file_of(monitors, origins)))
        eventually(lambda: (tmp_path / "haproxy.sock").exists())
        time.sleep(2)  # several rounds of both
        theirs = haproxy_says(tmp_path / "haproxy.sock")
        ours = {name: health == "healthy" for name, (health, _) in settled(daemon).items()}
        assert None not in theirs.values()
        assert ours == theirs
        assert set(ours.values()) == {True, False}


@pytest.mark.parametrize(("up", "down"), [(1, 1), (3, 2)])
def test_rise_and_fall_like_haproxys(programs, tmp_path, free_port, require, up, down):
    """Both see the same flapping origin: in the end both say the same, and neither flaps with it."""
    require("haproxy")
    port = free_port()
    backends = f"backend o\n  server o 127.0.0.1:{port}"
    config = HAPROXY.format(folder=tmp_path, backends=backends).replace("rise 1 fall 1", f"rise {up} fall {down}")
    (tmp_path / "haproxy.cfg").write_text(config)
    monitor = f"type: tcp, consecutive_up: {up}, consecutive_down: {down}"
    programs.start("haproxy", "-f", tmp_path / "haproxy.cfg")
    eventually(lambda: (tmp_path / "haproxy.sock").exists())
    body = file_of({"o": monitor}, {"o": f"address: 127.0.0.1, port: {port}"})
    with Daemon(tmp_path, body) as daemon:
        for is_up in (False, True, False, True):
            with saying(port, b"") if is_up else ExitStack():
                time.sleep(0.3 * max(up, down) + 1)
                assert (verdicts(daemon)["o"][0] == "healthy") is is_up
                assert haproxy_says(tmp_path / "haproxy.sock")["o"] is is_up


# --- another host -----------------------------------------------------------------------------------------------------

FAR_SERVER = """
import asyncio, socket, sys
quiet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
quiet.bind(("0.0.0.0", 5000))
async def main():
    server = await asyncio.start_server(lambda r, w: None, "0.0.0.0", 5001)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def test_a_silent_port_a_closed_one_and_a_dropped_one(namespace, tmp_path, require):
    require("nft")
    far = namespace.run(FAR_SERVER)
    assert far.stdout.readline() == b"ready\n"
    rules = """
table inet drops {
  chain input { type filter hook input priority 0;
    tcp dport 5003 drop
    udp dport 5003 drop
    ip protocol icmp icmp type echo-request ip daddr 10.231.77.3 drop
  }
}
"""
    subprocess.run(
        ["ip", "-n", namespace.name, "address", "add", "10.231.77.3/24", "dev", "far"], check=True, timeout=20
    )
    nft = ["ip", "netns", "exec", namespace.name, "nft", "-f", "-"]
    subprocess.run(nft, input=rules.encode(), check=True, timeout=20)
    cases = {
        "udp_silent": ("udp_icmp", "10.231.77.2", 5000, "healthy", None),
        "udp_closed": ("udp_icmp", "10.231.77.2", 5002, "down", "port unreachable"),
        "udp_dropped": ("udp_icmp", "10.231.77.2", 5003, "healthy", None),  # silence is health, as Cloudflare has it
        "udp_no_ping": ("udp_icmp", "10.231.77.3", 5000, "down", "no answer within 0.5 s"),
        "ping": ("icmp_ping", "10.231.77.2", 1, "healthy", None),
        "ping_dropped": ("icmp_ping", "10.231.77.3", 1, "down", "no answer within 0.5 s"),
        "tcp": ("tcp", "10.231.77.2", 5001, "healthy", None),
        "tcp_closed": ("tcp", "10.231.77.2", 5002, "down", "connection refused"),
        "tcp_dropped": ("tcp", "10.231.77.2", 5003, "down", "no answer within 0.5 s"),
    }
    monitors = {name: f"type: {case[0]}" for name, case in cases.items()}
    origins = {name: f"address: {case[1]}, port: {case[2]}" for name, case in cases.items()}
    try:
        with Daemon(tmp_path, file_of(monitors, origins)) as daemon:
            eventually(
                lambda: verdicts(daemon) == {name: case[3:] for name, case in cases.items()},
                10,
                lambda: verdicts(daemon),
            )
            namespace.unplug()
            eventually(lambda: {health for health, _ in verdicts(daemon).values()} == {"down"}, 20)
    finally:
        far.kill()
        far.communicate()


RELAY = """
import asyncio, sys
delay_s = [float(sys.argv[1])]
async def pump(reader, writer):
    while data := await reader.read(65536):
        await asyncio.sleep(delay_s[0])
        writer.write(data)
    writer.close()
async def serve(reader, writer):
    there = await asyncio.open_connection(sys.argv[2], int(sys.argv[3]))
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
async def commands():
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        delay_s[0] = float(line)
async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", 6000)
    print("ready", flush=True)
    await asyncio.gather(server.serve_forever(), commands())
asyncio.run(main())
"""
SAYS_OK = """
import asyncio
async def serve(reader, writer):
    try:
        while await reader.read(65536):
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    except ConnectionError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", 6001)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@pytest.fixture
def two_hosts(require):
    """Two places: each an origin, and a relay before it whose delay can be set."""
    require("ip")
    places = []
    try:
        for number in (81, 82):
            place = Namespace(f"sps{number}x{int(time.time()) % 1000}", number)
            origin = place.run(SAYS_OK)
            assert origin.stdout.readline() == b"ready\n"
            relay = place.run(RELAY, "0.01" if number == 81 else "0.08", place.far, "6001")
            assert relay.stdout.readline() == b"ready\n"
            places.append((place, origin, relay))
        yield places
    finally:
        for place, *processes in places:
            for process in processes:
                process.kill()
                process.communicate()
            place.close()


def test_clients_go_where_probes_are_answered_soonest(two_hosts, tmp_path, free_port):
    port, metrics = free_port(), free_port()
    near, far = (place.far for place, _, _ in two_hosts)
    body = f"""
monitors: {{m: {{type: http, interval: 0.2, timeout: 2}}}}
pools:
  far: {{origins: [{{name: o, address: {far}, port: 6000}}], monitor: m}}
  near: {{origins: [{{name: o, address: {near}, port: 6000}}], monitor: m}}
load_balancers: {{lb: {{default_pools: [far, near], steering_policy: dynamic_latency}}}}
apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], load_balancer: lb}}}}
metrics: {{listen: 127.0.0.1:{metrics}}}
"""

    def goes_to(daemon):
        before = len(daemon.events())
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(100).endswith(b"ok")
        eventually(lambda: [e for e in daemon.events()[before:] if "OriginIP" in e and e["Event"] == "disconnect"])
        return {far: "far", near: "near"}[daemon.events()[-1]["OriginIP"]]

    with Daemon(tmp_path, body, workers=2) as daemon:
        eventually(lambda: healthy(daemon, "far", "o") and healthy(daemon, "near", "o"))
        eventually(lambda: goes_to(daemon) == "near", 10)
        rtts = {pool["name"]: pool["rtt_ms"] for pool in daemon.status()["pools"]}
        assert rtts["near"] < 60 < 150 < rtts["far"]
        assert metrics_of(metrics)['spectrum_pool_rtt_seconds{pool="far"}'] > 0.15
        # The near one comes to be far away: the mean follows within some probes.
        relay = two_hosts[0][2]
        relay.stdin.write(b"0.3\n")
        relay.stdin.flush()
        eventually(lambda: goes_to(daemon) == "far", 20)


# --- in states in between ---------------------------------------------------------------------------------------------


def test_half_dead_it_accepts_but_serves_nobody(tmp_path, free_port):
    """Its monitor is content; the clients' resets eject it."""
    port, half, good = free_port(), free_port(), free_port()
    body = f"""
monitors: {{m: {QUICK.replace("0.2", "60")}}}
pools:
  p:
    origins: [{{name: half, address: 127.0.0.1, port: {half}}}, {{name: good, address: 127.0.0.1, port: {good}}}]
    monitor: m
    outlier_detection: {{consecutive_failures: 3, base_ejection_time: 60s}}
load_balancers: {{lb: {{default_pools: [p]}}}}
apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], load_balancer: lb}}}}
"""
    with saying(half, b"", reset=True), saying(good, b"hello"), Daemon(tmp_path, body) as daemon:
        settle(daemon, "p", "half", "good")

        def served():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as sock:
                    sock.sendall(b"?")
                    return sock.recv(5) == b"hello"
            except ConnectionResetError:
                return False

        for _ in range(40):
            served()
        eventually(
            lambda: daemon.status()["pools"][0]["origins"][0]["health"] == "ejected",
            explain=lambda: (daemon.status()["pools"], daemon.events(), daemon.messages()),
        )
        time.sleep(TOLD_S)
        assert all(served() for _ in range(20))
        (event,) = (e for e in daemon.events() if e["Event"] == "originEjected")
        assert (event["Origin"], event["Healthy"]) == ("half", False)
        assert event["Reason"].endswith("sessions reset in a row before a byte; for 60 s")


def test_a_slow_one_is_down_when_it_is_too_slow(tmp_path, free_port):
    port = free_port()
    script = Path(tmp_path / "slow.py")
    script.write_text(
        "import socket, sys, time\n"
        f"s = socket.create_server(('127.0.0.1', {port}))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    c, _ = s.accept()\n"
        "    time.sleep(float(open(sys.argv[1]).read()))\n"
        "    try:\n"
        "        c.recv(4096); c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n')\n"
        "    except OSError:\n"
        "        pass\n"
        "    c.close()\n"
    )
    delay = tmp_path / "delay"
    delay.write_text("0")
    slow = subprocess.Popen([sys.executable, script, delay], stdout=subprocess.PIPE)
    assert slow.stdout.readline() == b"ready\n"
    body = file_of({"o": "type: http"}, {"o": f"address: 127.0.0.1, port: {port}"})
    try:
        with Daemon(tmp_path, body) as daemon:
            eventually(lambda: verdicts(daemon)["o"] == ("healthy", None))
            delay.write_text("0.8")
            eventually(lambda: verdicts(daemon)["o"] == ("down", "no answer within 0.5 s"))
            delay.write_text("0.2")
            eventually(lambda: verdicts(daemon)["o"] == ("healthy", None))
            assert json.dumps(daemon.status()["pools"][0])  # what it shows can be sent
    finally:
        slow.kill()
        slow.communicate()
