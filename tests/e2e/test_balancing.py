"""Load balancing as users run it: failover, affinity, drains, steering, and what they see of it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack

import pytest

from spectrum.cli.client import ask
from tests.e2e.daemon import Daemon
from tests.e2e.echoes import echoing
from tests.engine.harness import eventually
from tests.plane.access.test_geoip import database

QUICK = "{type: tcp, interval: 0.2, timeout: 1, retries: 0, consecutive_up: 2, consecutive_down: 2}"

# Until workers know what status shows.
TOLD_S = 0.2

# Says its own port to everybody, then echoes; a process of its own, so that it can be killed.
ORIGIN = """
import asyncio, sys
async def serve(reader, writer):
    try:
        writer.write(sys.argv[1].encode().rjust(5, b"0"))
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1000)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Origins:
    """Origins by name, each a process."""

    def __init__(self, names, free_port):
        self.ports = {name: free_port() for name in names}
        self.name_of = {f"{port:05}".encode(): name for name, port in self.ports.items()}
        self._running = {}
        for name in names:
            self.start(name)

    def start(self, name):
        command = [sys.executable, "-c", ORIGIN, str(self.ports[name])]
        process = self._running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout.readline() == b"ready\n"

    def kill(self, name):
        process = self._running.pop(name)
        process.kill()
        process.communicate()

    def stop(self):
        for name in list(self._running):
            self.kill(name)

    def pool(self, names, more=""):
        listed = ", ".join(f"{{name: {name}, address: 127.0.0.1, port: {self.ports[name]}}}" for name in names)
        return f"{{origins: [{listed}]{more}}}"


@pytest.fixture
def origins(free_port):
    made = []

    def build(names):
        made.append(Origins(names, free_port))
        return made[-1]

    yield build
    for each in made:
        each.stop()


def visit(port, source="127.0.0.1"):
    """Connect, and return the session with the port that its origin said."""
    sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(source, 0))
    sock.settimeout(10)
    said = b""
    try:
        while len(said) < 5 and (data := sock.recv(5 - len(said))):
            said += data
    except OSError:
        sock.close()  # else another test is told of it
        raise
    return sock, said


def where(origins, port, source="127.0.0.1"):
    sock, said = visit(port, source)
    sock.close()
    return origins.name_of[said]


def text(port, pools, balancer, more="", monitor=QUICK, app=""):
    return f"""
monitors: {{m: {monitor}}}
pools: {{{pools}}}
load_balancers: {{lb: {{{balancer}}}}}
apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], load_balancer: lb{app}}}}}
{more}"""


def healthy(daemon, pool, *names):
    """Whether exactly these origins of a pool are healthy."""
    found = next(p for p in daemon.status()["pools"] if p["name"] == pool)
    return {o["name"] for o in found["origins"] if o["health"] == "healthy"} == set(names)


def settle(daemon, pool, *names):
    """Wait until exactly these origins of a pool are healthy, and workers know."""
    eventually(lambda: healthy(daemon, pool, *names))
    time.sleep(TOLD_S)


def metrics_of(port):
    """The samples of a scrape, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


# --- failover under load ----------------------------------------------------------------------------------------------

SESSIONS, CLIENTS = 4000, 32


async def load(port, kill):
    """Sessions of some clients, each a question and an answer; return when each began, and what became of it.

    After a third of them `kill` is called, which nothing here runs beside.
    """
    loop, left, results = asyncio.get_running_loop(), iter(range(SESSIONS)), []

    async def session():
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, b"hello")
            said = b""
            while len(said) < 10 and (data := await loop.sock_recv(sock, 10)):
                said += data
        except OSError as exc:
            return type(exc).__name__
        finally:
            sock.close()
        return said[:5] if said[5:] == b"hello" else "cut off"

    async def client():
        for number in left:
            if number == SESSIONS // 3:
                kill()
            began = time.monotonic()
            results.append((began, await session()))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return results


@pytest.mark.parametrize("monitored", [True, False], ids=["monitored", "clients alone tell"])
def test_an_origin_is_killed_under_load_and_no_new_client_fails(origins, tmp_path, free_port, monitored):
    port = free_port()
    made = origins("abc")
    pool = made.pool("abc", ", monitor: m" if monitored else "")
    every = "log: {sessions_per_second: 0}"
    with Daemon(tmp_path, text(port, f"p: {pool}", "default_pools: [p]", every), workers=2) as daemon:
        if monitored:
            settle(daemon, "p", "a", "b", "c")
        killed = []

        def kill():
            made.kill("b")
            killed.append(time.monotonic())

        results = asyncio.run(load(port, kill))
        assert len(results) == SESSIONS
        failed = [(began, what) for began, what in results if what not in made.name_of]
        # Sessions that were with it already are cut off with it, and only they.
        assert all(began < killed[0] for began, what in failed), failed
        assert len(failed) < CLIENTS
        assert {made.name_of[what] for began, what in results if began > killed[0]} == {"a", "c"}
        eventually(lambda: len(daemon.events()) >= SESSIONS, 20)
        ends = Counter(event["Reason"] for event in daemon.events() if event.get("Application") == "x")
        assert not [reason for reason in ends if reason.startswith("connect_")], ends

        def origin():
            return next(o for o in daemon.status()["pools"][0]["origins"] if o["name"] == "b")

        if monitored:
            eventually(lambda: origin()["health"] in ("down", "ejected"))  # whatever tells first
        else:
            found = next(o for o in daemon.app("x")["origins"] if o["address"].endswith(f":{made.ports['b']}"))
            assert found["failed"] > 0
            assert origin()["ejections"] > 0


# --- affinity ---------------------------------------------------------------------------------------------------------


def test_affinity_is_the_same_in_every_worker_and_survives_a_reload_and_a_killed_worker(origins, tmp_path, free_port):
    port = free_port()
    made = origins("abcdef")
    affinity = "default_pools: [p], session_affinity: ip"
    with Daemon(tmp_path, text(port, f"p: {made.pool('abc')}", affinity), workers=3) as daemon:
        clients = [f"127.0.0.{n}" for n in range(2, 42)]
        homes = {client: where(made, port, client) for client in clients}
        assert set(homes.values()) == set("abc")
        for _ in range(3):  # whichever worker takes the connection
            assert {client: where(made, port, client) for client in clients} == homes
        daemon.write(text(port, f"p: {made.pool('abcdef')}", affinity))
        assert daemon.reload() == []
        assert {client: where(made, port, client) for client in clients} == homes
        fresh = {where(made, port, f"127.0.1.{n}") for n in range(1, 80)}
        assert fresh & set("def")
        before = daemon.worker_pids()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(set(daemon.worker_pids()) - {before[0]}) == 3)
        assert {client: where(made, port, client) for client in clients} == homes


@pytest.mark.parametrize(("failover", "returns"), [("temporary", True), ("sticky", False)])
def test_where_a_client_goes_while_its_origin_is_down(origins, tmp_path, free_port, failover, returns):
    port = free_port()
    made = origins("ab")
    balancer = (
        f"default_pools: [p], session_affinity: ip, session_affinity_attributes: {{zero_downtime_failover: {failover}}}"
    )
    with Daemon(tmp_path, text(port, f"p: {made.pool('ab', ', monitor: m')}", balancer), workers=2) as daemon:
        settle(daemon, "p", "a", "b")
        home = where(made, port)
        other = "b" if home == "a" else "a"
        made.kill(home)
        assert where(made, port) == other  # at once, by failover
        settle(daemon, "p", other)
        assert where(made, port) == other
        made.start(home)
        settle(daemon, "p", "a", "b")
        assert where(made, port) == (home if returns else other)


# --- loads and drains -------------------------------------------------------------------------------------------------


def test_the_least_loaded_by_true_counts_of_all_workers(origins, tmp_path, free_port):
    port = free_port()
    made = origins("abc")
    pool = made.pool("abc", ", origin_steering: {policy: least_connections}")
    with Daemon(tmp_path, text(port, f"p: {pool}", "default_pools: [p]"), workers=3) as daemon:
        sessions = [visit(port) for _ in range(150)]
        counts = Counter(made.name_of[said] for _, said in sessions)
        assert max(counts.values()) - min(counts.values()) <= 12, counts
        status = daemon.status()["pools"][0]
        assert {o["name"]: o["sessions"] for o in status["origins"]} == counts
        assert status["sessions"] == 150
        # Those of one origin leave: newcomers go there until it has as many as the others.
        for sock, said in sessions:
            if made.name_of[said] == "a":
                sock.close()
        eventually(lambda: daemon.status()["pools"][0]["origins"][0]["sessions"] == 0)
        more = []
        counts["a"] = 0
        while counts["a"] < min(counts["b"], counts["c"]):  # in the end as many, and not by chance
            assert len(more) < 300, counts
            more.append(visit(port))
            counts[made.name_of[more[-1][1]]] += 1
        worker = daemon.status()["workers"][0]
        os.kill(worker["pid"], signal.SIGKILL)
        eventually(lambda: len(set(daemon.worker_pids()) - {worker["pid"]}) == 3)
        # What the killed one carried is counted no more.
        left = sum(w["sessions"] for w in daemon.status()["workers"])
        eventually(lambda: daemon.status()["pools"][0]["sessions"] == left)
        for sock, _ in [*sessions, *more]:
            sock.close()


def test_sessions_of_a_disabled_origin_end_one_by_one(origins, tmp_path, free_port):
    port = free_port()
    made = origins("ab")
    balancer = "default_pools: [p], session_affinity_attributes: {drain_duration: 2s}"
    pool = f"p: {made.pool('ab')}"
    with Daemon(tmp_path, text(port, pool, balancer), workers=2) as daemon:
        sessions = [visit(port) for _ in range(80)]
        daemon.write(text(port, pool.replace("name: b,", "name: b, enabled: false,"), balancer))
        assert daemon.reload() == []
        began = time.monotonic()
        ends = []

        def watch(sock):
            sock.settimeout(20)
            assert sock.recv(1) == b""
            ends.append(time.monotonic() - began)

        cut = [sock for sock, said in sessions if made.name_of[said] == "b"]
        watchers = [threading.Thread(target=watch, args=(sock,)) for sock in cut]
        for watcher in watchers:
            watcher.start()
        for watcher in watchers:
            watcher.join()
        assert len(ends) == len(cut) > 20
        ends.sort()
        assert 8 < ends[-1] < 13
        assert ends[len(ends) // 2] == pytest.approx(5, abs=2)  # evenly over ten seconds
        kept = [sock for sock, said in sessions if made.name_of[said] == "a"]
        for sock in kept:
            sock.sendall(b"still here")
            assert sock.recv(20) == b"still here"
        reasons = Counter(event["Reason"] for event in daemon.wait_for_events(len(cut)))
        assert reasons == {"origin_drained": len(cut)}
        for sock, _ in sessions:
            sock.close()


def test_other_pools_and_other_countries(origins, tmp_path, free_port):
    """A pool that answers nobody is left for the next one; clients of a country have pools of their own."""
    port, closed = free_port(), free_port()
    made = origins("ab")
    dead = f"dead: {{origins: [{{name: d, address: 127.0.0.1, port: {closed}}}], outlier_detection: 'off'}}"
    pools = f"{dead}, a: {made.pool('a')}, b: {made.pool('b')}"
    balancer = (
        "default_pools: [dead, a], country_pools: {JP: [b]}, region_pools: {WEU: [a]}, "
        "steering_policy: geo, adaptive_routing: {failover_across_pools: true}"
    )
    path = database(tmp_path / "countries.mmdb", [(["127.0.0.64/26"], {"country": {"iso_code": "JP"}})])
    more = f"geoip: {{database: {path}}}"
    with Daemon(tmp_path, text(port, pools, balancer, more), workers=2) as daemon:
        assert {where(made, port, f"127.0.0.{n}") for n in range(2, 10)} == {"a"}
        assert {where(made, port, f"127.0.0.{n}") for n in range(65, 75)} == {"b"}
        steps = ask(daemon.socket, "GET", "/explain?app=x&client=127.0.0.70")["steps"]
        assert steps[1] == "it comes from JP, which has pools of its own"
        assert daemon.app("x")["origins"]
        daemon.write(text(port, pools, balancer, f"{more}\nnode: {{region: WEU}}"))
        assert daemon.reload() == []
        failed = sum(o["failed"] for o in daemon.app("x")["origins"])
        assert where(made, port) == "a"
        assert sum(o["failed"] for o in daemon.app("x")["origins"]) == failed  # the dead pool is not of this region


# --- what one sees ----------------------------------------------------------------------------------------------------


def test_pools_go_down_the_fallback_serves_and_that_is_reported(origins, tmp_path, free_port):
    port, metrics = free_port(), free_port()
    made = origins("abc")
    pools = f"one: {made.pool('a', ', monitor: m')}, two: {made.pool('b', ', monitor: m')}, spare: {made.pool('c')}"
    balancer = "default_pools: [one, two], fallback_pool: spare"
    more = f"metrics: {{listen: 127.0.0.1:{metrics}}}"
    with Daemon(tmp_path, text(port, pools, balancer, more), workers=2) as daemon:
        settle(daemon, "one", "a")
        settle(daemon, "two", "b")
        assert where(made, port) == "a"
        made.kill("a")
        settle(daemon, "one")
        assert where(made, port) == "b"
        made.kill("b")
        eventually(lambda: daemon.status()["load_balancers"][0]["fallback_in_use"])
        time.sleep(TOLD_S)
        assert where(made, port) == "c"
        found = metrics_of(metrics)
        assert found['spectrum_load_balancer_fallback{load_balancer="lb"}'] == 1
        assert found['spectrum_pool_healthy{pool="one"}'] == 0
        assert found['spectrum_origin_health_changes_total{origin="a",pool="one"}'] == 1
        assert "load balancer lb has no healthy pool: fallback pool spare serves" in daemon.messages()
        steps = ask(daemon.socket, "GET", "/explain?app=x&client=203.0.113.7&port=0")["steps"]
        assert "pool one is down (0 of 1 origins up, 1 needed); not used: a: connection refused" in steps
        assert steps[-1] == f"it goes to spare/c (127.0.0.1 port {made.ports['c']})"
        # Health survives a reload: nobody is doubted, nothing is told anew.
        told = len(daemon.events())
        assert daemon.reload() == []
        assert daemon.status()["load_balancers"][0]["fallback_in_use"]
        assert where(made, port) == "c"
        made.start("a")
        settle(daemon, "one", "a")
        eventually(lambda: where(made, port) == "a")
        health = [(e["Event"], e.get("Pool"), e["Healthy"]) for e in daemon.events() if "Healthy" in e]
        assert health[-3:] == [
            ("originHealth", "one", True),
            ("poolHealth", "one", True),
            ("loadBalancerFallback", "spare", True),
        ]
        assert len([e for e in daemon.events()[:told] if e.get("Reason", "").endswith("connection refused")]) >= 2


def test_the_monitors_of_a_group_decide_together(origins, tmp_path, free_port):
    port, metrics = free_port(), free_port()
    made = origins(["a", "b", "login", "world", "town", "cave", "chat"])
    rest = QUICK.removesuffix("}")
    monitors = ", ".join(
        f"{name}: {rest}, port: {made.ports[name]}}}" for name in ("login", "world", "town", "cave", "chat")
    )
    more = f"""
monitor_groups:
  game:
    members:
      - {{monitor: login, must_be_healthy: true}}
      - {{monitor: world}}
      - {{monitor: town}}
      - {{monitor: cave}}
      - {{monitor: chat, monitoring_only: true}}
metrics: {{listen: 127.0.0.1:{metrics}}}
"""
    pools = f"one: {made.pool('a', ', monitor_group: game')}, two: {made.pool('b', ', monitor: m')}"
    file = text(port, pools, "default_pools: [one, two]", more, monitor=f"{QUICK}, {monitors}")
    with Daemon(tmp_path, file) as daemon:

        def found():
            origin = next(pool for pool in daemon.status()["pools"] if pool["name"] == "one")["origins"][0]
            failing = [one["monitor"] for one in origin["monitors"] if one["health"] == "down"]
            return origin["health"], origin["reason"], failing

        def settled(health, reason, *failing):
            eventually(lambda: found() == (health, reason, list(failing)))
            time.sleep(TOLD_S)
            assert where(made, port) == ("a" if health == "healthy" else "b")

        settled("healthy", None)
        made.kill("chat")  # monitoring_only
        settled("healthy", None, "chat")
        made.kill("world")  # one of three
        settled("healthy", None, "world", "chat")
        steps = ask(daemon.socket, "GET", "/explain?app=x&client=203.0.113.7&port=0")["steps"]
        assert any("world fails (connection refused), without a majority" in step for step in steps)
        assert metrics_of(metrics)['spectrum_origin_monitor_healthy{monitor="world",origin="a",pool="one"}'] == 0
        made.kill("town")
        both = "2 of 3 fail: world: connection refused; town: connection refused"
        settled("down", both, "world", "town", "chat")
        made.start("world")
        settled("healthy", None, "town", "chat")
        made.kill("login")  # must_be_healthy
        settled("down", "login: connection refused", "login", "town", "chat")
        assert daemon.reload() == [], "a reload is no reason to think otherwise"
        assert found()[:2] == ("down", "login: connection refused")
        made.start("login")
        settled("healthy", None, "town", "chat")
        events = [one for one in daemon.events() if one.get("MonitorGroup") == "game"]
        told = [(one["Event"], one.get("Monitor"), one["Healthy"]) for one in events if one["Event"] == "monitorHealth"]
        assert told[:3] == [("monitorHealth", name, False) for name in ("chat", "world", "town")]
        assert [one["Healthy"] for one in events if one["Event"] == "originHealth"] == [True, False, True, False, True]


def test_explain_and_status_on_the_command_line(origins, tmp_path, free_port):
    port = free_port()
    made = origins("ab")
    balancer = "default_pools: [p], session_affinity: ip"
    with Daemon(tmp_path, text(port, f"p: {made.pool('ab', ', monitor: m')}", balancer)) as daemon:
        settle(daemon, "p", "a", "b")
        home = where(made, port)

        def spectrum(*arguments):
            command = [sys.executable, "-m", "spectrum", *arguments, "--socket", str(daemon.socket)]
            return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

        said = spectrum("explain", "--app", "x", "--client", "127.0.0.1").stdout.splitlines()
        assert said[0] == f"1. client 127.0.0.1 of app x (tcp/{port}): load balancer lb"
        assert f"2. session affinity by address: it went to p/{home} before" in said
        assert any(re.fullmatch(rf"\d\. it goes to p/{home} again \(127.0.0.1 port \d+\)", line) for line in said)
        wrong = spectrum("explain", "--app", "y", "--client", "127.0.0.1")
        assert (wrong.returncode, wrong.stderr) == (1, "no app 'y'; known here: x\n")
        status = spectrum("status").stdout
        assert "load balancer lb: steering off, pool p" in status
        assert re.search(r"a +127\.0\.0\.1 port \d+ +healthy +50% +\d+\.\d ms", status)


# --- UDP --------------------------------------------------------------------------------------------------------------

UDP_ORIGIN = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    data, peer = sock.recvfrom(65536)
    sock.sendto(sys.argv[1].encode(), peer)
"""


def test_udp_flows_keep_their_origin_and_leave_one_that_is_down(tmp_path, free_port):
    port, ports = free_port(), {name: free_port() for name in "ab"}
    running, names = {}, {at: name for name, at in ports.items()}

    def start(name):
        command = [sys.executable, "-c", UDP_ORIGIN, str(ports[name])]
        running[name] = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert running[name].stdout.readline() == b"ready\n"

    def kill(name):
        process = running.pop(name)
        process.kill()
        process.communicate()

    def say(sock):
        """The origin that answers; a question that its origin's end swallowed is asked again."""
        for _ in range(20):
            sock.sendto(b"who?", ("127.0.0.1", port))
            try:
                return names[int(sock.recv(100))]
            except TimeoutError:
                continue
        raise AssertionError("nobody answers")

    for name in ports:
        start(name)
    listed = ", ".join(f"{{name: {name}, address: 127.0.0.1, port: {at}}}" for name, at in ports.items())
    monitor = "{type: udp_icmp, interval: 0.3, timeout: 0.2, retries: 0}"
    body = text(
        port,
        f"p: {{origins: [{listed}], monitor: m}}",
        "default_pools: [p], session_affinity: ip_port",
        monitor=monitor,
    )
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
    for sock in clients:
        sock.settimeout(0.3)
    try:
        with Daemon(tmp_path, body.replace("tcp/", "udp/"), workers=2) as daemon:
            settle(daemon, "p", "a", "b")
            homes = [say(sock) for sock in clients]
            assert set(homes) == {"a", "b"}
            assert [say(sock) for sock in clients] == homes
            kill("a")
            settle(daemon, "p", "b")
            origin = daemon.status()["pools"][0]["origins"][0]
            assert (origin["health"], origin["reason"]) == ("down", "port unreachable")
            assert {say(sock) for sock in clients} == {"b"}
            start("a")
            settle(daemon, "p", "a", "b")
            # Flows stay where they are now; new ones go to both again.
            assert {say(sock) for sock in clients} == {"b"}
    finally:
        for sock in clients:
            sock.close()
        for name in list(running):
            kill(name)


def test_an_origin_of_an_app_has_as_many_as_it_may_and_connections_ahead(tmp_path, free_port):
    """Workers together count its sessions, and what is open ahead leaves room for them."""
    port, origin = free_port(), echoing(socket.SOCK_STREAM)
    bounds = "origin_max_sessions: 4, queue: {size: 0}, origin_preconnect: 8"
    text = f"apps: {{x: {{protocol: tcp/{port}, origin_direct: [tcp://127.0.0.1:{origin}], {bounds}}}}}"

    def opened(daemon):
        return [one.get("preconnected") for one in daemon.app("x")["origins"]]

    with Daemon(tmp_path, text, workers=2) as daemon, ExitStack() as clients:
        eventually(lambda: opened(daemon) == [4], 20, daemon.messages)  # two in each worker
        for _ in range(4):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", port), 5) as refused:
            refused.recv(1)
        (event,) = daemon.wait_for_events(1)
        assert event["Reason"] == "origin_full"
        eventually(lambda: opened(daemon) == [0], 20, daemon.messages)
        (used,) = [one for one in ask(daemon.socket, "GET", "/limits")["limits"] if one["limit"] == "origin_sessions"]
        assert (used["used"], used["maximum"]) == (4, 4)
        clients.close()
        daemon.write(text.replace("origin_preconnect: 8", "origin_preconnect: 1"))
        assert daemon.reload() == []
        eventually(lambda: opened(daemon) == [2], 20, daemon.messages)
