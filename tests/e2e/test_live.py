"""`spectrum sessions` and `spectrum kill`: open sessions and flows of two workers, before and after an upgrade."""

import os
import signal
import socket
import threading
from contextlib import ExitStack

from click.testing import CliRunner

from spectrum.cli.client import ask
from spectrum.cli.commands import main
from tests.e2e.daemon import Daemon
from tests.e2e.echoes import echoing
from tests.engine.harness import eventually

# As good as certainly both workers have some.
COUNT = 24


def connected(port, kind, own="127.0.0.1"):
    """Return a client that has had an answer."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.settimeout(10)
    sock.bind((own, 0))
    sock.connect(("127.0.0.1", port))
    assert echoed(sock)
    return sock


def echoed(sock, data=b"hello"):
    sock.send(data)
    return sock.recv(100) == data


def is_over(sock):
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


def address(sock):
    return "{}:{}".format(*sock.getsockname())


class Operator:
    """Asks a daemon, by HTTP and by commands."""

    def __init__(self, daemon):
        self.daemon = daemon

    def sessions(self, **query):
        text = "&".join(f"{key}={value}" for key, value in query.items())
        return ask(self.daemon.socket, "GET", f"/sessions?{text}")

    def clients(self, **query):
        return [one["client"] for one in self.sessions(**query)["sessions"]]

    def run(self, *command, typed=""):
        done = CliRunner().invoke(main, [*command, "--socket", str(self.daemon.socket)], input=typed)
        return done.exit_code, done.output


def test_open_sessions_are_shown_and_ended(tmp_path, free_port):
    tcp, udp = free_port(), free_port()
    stream, datagrams = echoing(socket.SOCK_STREAM), echoing(socket.SOCK_DGRAM)
    text = f"""
apps:
  web: {{protocol: tcp/{tcp}, edge_ips: [127.0.0.1], load_balancer: lb}}
  dns: {{protocol: udp/{udp}, edge_ips: [127.0.0.1], origin_direct: ['udp://127.0.0.1:{datagrams}']}}
load_balancers: {{lb: {{default_pools: [p], fallback_pool: p}}}}
pools: {{p: {{origins: [{{name: one, address: 127.0.0.1, port: {stream}}}]}}}}

"""
    with Daemon(tmp_path, text, workers=2) as daemon, ExitStack() as stack:
        operator = Operator(daemon)
        streams = [stack.enter_context(connected(tcp, socket.SOCK_STREAM)) for _ in range(COUNT)]
        other = stack.enter_context(connected(tcp, socket.SOCK_STREAM, "127.0.0.2"))
        flow = stack.enter_context(connected(udp, socket.SOCK_DGRAM))
        assert echoed(flow)
        answer = operator.sessions()
        assert (answer["total"], answer["silent"]) == (COUNT + 2, [])
        assert {one["worker_pid"] for one in answer["sessions"]} == set(daemon.worker_pids())
        seen = {one["client"]: one for one in answer["sessions"]}
        assert seen.keys() == {address(sock) for sock in (*streams, other, flow)}
        one = seen[address(other)]
        assert (one["app"], one["transport"], one["state"]) == ("web", "tcp", "relaying")
        assert (one["edge"], one["origin"], one["origin_name"]) == (f"127.0.0.1:{tcp}", f"127.0.0.1:{stream}", "p/one")
        assert (one["bytes_from_client"], one["bytes_from_origin"]) == (5, 5)
        assert 0 <= one["idle_s"] <= one["age_s"] + 0.01 < 60
        one = seen[address(flow)]
        assert (one["app"], one["transport"], one["state"], one["origin_name"]) == ("dns", "udp", "confirmed", None)
        assert (one["edge"], one["bytes_from_client"]) == (f"127.0.0.1:{udp}", 10)

        assert echoed(other, b"more of it than others")
        assert operator.clients(sort="bytes", limit=1) == [address(other)]
        assert operator.sessions(limit=1)["total"] == COUNT + 2
        assert operator.clients(app="dns") == [address(flow)]
        assert operator.clients(client="127.0.0.2/32") == operator.clients(min_bytes=21) == [address(other)]
        for origin in ("one", "p/one", f"127.0.0.1:{stream}"):
            assert operator.sessions(origin=origin)["total"] == COUNT + 1
        assert operator.sessions(origin="127.0.0.1")["total"] == COUNT + 2
        assert operator.sessions(older_than="1h")["total"] == 0
        for query, fault in (
            ({"app": "wbe"}, 'there is no app "wbe"; `spectrum status` shows all apps'),
            ({"client": "x"}, 'client: "x" is neither an address nor a prefix'),
            ({"origin": "two"}, 'origin: "two" is neither an address nor an origin of a pool; write POOL/ORIGIN or '),
            ({"sort": "x"}, '"x" is not an order of sessions: age, bytes, idle, app, client'),
            ({"min_bytes": "much"}, "min_bytes: 'much' is not a size"),
            ({"limit": 10001}, "limit: 10001 is more than 10000"),
            ({"limit": "x"}, 'limit: "x" is not a number'),
            ({"ids": "x"}, '"x" is not an id of a session'),
        ):
            assert fault in operator.sessions(**query)["errors"][0]

        code, text = operator.run("sessions", "--client", "127.0.0.2", "--app", "web")
        assert (code, text.splitlines()[-1]) == (0, "1 session")
        assert f"127.0.0.1:{stream} (p/one)" in text

        # One, by its id: nothing is asked.
        code, text = operator.run("kill", seen[address(other)]["id"])
        assert (code, text) == (0, "1 session ended\n")
        assert is_over(other)
        assert operator.sessions()["total"] == COUNT + 1
        (record,) = daemon.wait_for_events(1)
        assert (record["Reason"], record["ClientIP"], record["ClientBytes"]) == ("killed", "127.0.0.2", 27)
        assert record["SessionId"] == seen[address(other)]["id"]
        assert operator.run("kill", seen[address(other)]["id"]) == (1, "no such session is open\n")
        code, text = operator.run("kill", "--app", "web", typed="n\n")
        assert (code, operator.sessions()["total"]) == (1, COUNT + 1)
        assert f"end {COUNT} sessions and flows?" in text
        assert operator.run("kill")[0] == 2
        assert "which sessions?" in ask(daemon.socket, "POST", "/sessions/kill")["errors"][0]

        # Those of before an upgrade; a flow keeps its id.
        answer = ask(daemon.socket, "POST", "/upgrade", 100)
        assert answer["errors"] == []
        daemon.process.wait(20)
        eventually(lambda: len(daemon.worker_pids()) == 2, 20)
        after = {one["client"]: one["id"] for one in operator.sessions()["sessions"]}
        assert after == {client: one["id"] for client, one in seen.items() if client != address(other)}
        assert echoed(streams[0])
        assert operator.run("kill", "--app", "web", "--yes") == (0, f"{COUNT} sessions ended\n")
        assert all(is_over(sock) for sock in streams)
        assert operator.run("kill", after[address(flow)]) == (0, "1 session ended\n")
        assert operator.sessions()["total"] == 0
        records = daemon.wait_for_events(COUNT + 2)
        assert {one["Reason"] for one in records} == {"killed"}
        assert {one["SessionId"] for one in records} == {one["id"] for one in seen.values()}
        assert f"uid {os.getuid()} ended {COUNT} sessions and flows: app web" in daemon.messages()
        os.kill(answer["pid"], signal.SIGTERM)
        eventually(lambda: not daemon.socket.exists(), 20)


def named(name):
    """Return the port of an origin that says its name to TCP clients, and to each datagram."""
    stream = socket.create_server(("127.0.0.1", 0))
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(stream.getsockname())

    def serve_one(connection):
        with connection:
            connection.sendall(name)
            connection.recv(10)

    def greet():
        while True:
            threading.Thread(target=serve_one, args=(stream.accept()[0],), daemon=True).start()

    def answer():
        while True:
            _, client = datagrams.recvfrom(1000)
            datagrams.sendto(name, client)

    for serve in (greet, answer):
        threading.Thread(target=serve, daemon=True).start()
    return stream.getsockname()[1]


def greeted(port):
    """Return a client, and who it is connected to."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    return sock, sock.recv(10)


def who(port):
    sock, name = greeted(port)
    sock.close()
    return name


def told(sock):
    sock.send(b"x")
    return sock.recv(10)


def test_origins_are_set_by_hand(tmp_path, free_port):
    tcp, udp, metrics = free_port(), free_port(), free_port()
    one, two = named(b"one"), named(b"two")
    origins = ", ".join(f"{{name: {n}, address: 127.0.0.1, port: {p}}}" for n, p in (("one", one), ("two", two)))
    text = f"""
apps:
  web: {{protocol: tcp/{tcp}, edge_ips: [127.0.0.1], load_balancer: lb}}
  dns: {{protocol: udp/{udp}, edge_ips: [127.0.0.1], load_balancer: lb}}
load_balancers: {{lb: {{default_pools: [p], fallback_pool: p, session_affinity: ip}}}}
pools: {{p: {{origins: [{origins}]}}}}
metrics: {{listen: 127.0.0.1:{metrics}}}
"""
    env = {"STATE_DIRECTORY": str(tmp_path / "state")}
    with Daemon(tmp_path, text, workers=2, env=env) as daemon, ExitStack() as stack:
        operator = Operator(daemon)
        session, home = greeted(tcp)
        stack.enter_context(session)
        flow = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        flow.settimeout(10)
        flow.connect(("127.0.0.1", udp))
        assert told(flow) == told(flow) == home  # by the address, whatever the app
        assert [who(tcp) for _ in range(5)] == [home] * 5
        mine, name = home.decode(), f"p/{home.decode()}"
        other = b"two" if home == b"one" else b"one"

        assert operator.run("origin", "drain", name)[0] == 0
        eventually(lambda: {who(tcp) for _ in range(20)} == {other}, 2)
        assert told(flow) == home  # it stays
        assert operator.run("origin", "drain", name)[1].endswith("already\n")
        code, shown = operator.run("status")
        assert f"origin {name}: drained since 20" in shown
        (pool,) = daemon.status()["pools"]
        (drained,) = [origin for origin in pool["origins"] if origin["name"] == mine]
        assert (drained["health"], drained["share"]) == ("drained", 0)
        assert f"by uid {os.getuid()}" in drained["by_hand"]
        assert f"{mine}: drained by hand since" in operator.run("explain", "--app", "web", "--client", "127.0.0.1")[1]
        assert daemon.reload() == []
        assert {who(tcp) for _ in range(10)} == {other}
        assert operator.run("origin", "disable", name)[0] == 0
        eventually(lambda: told(flow) == other)  # as if it were down
        with socket.create_connection(("127.0.0.1", metrics)) as scrape:
            scrape.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            page = b"".join(iter(lambda: scrape.recv(65536), b"")).decode()
        assert f'spectrum_origin_out_by_hand{{how="disable",origin="{mine}",pool="p"}} 1.0' in page

        # Another worker, an upgrade: it is kept. The TCP session goes on.
        answer = ask(daemon.socket, "POST", "/upgrade", 100)
        assert answer["errors"] == []
        daemon.process.wait(20)
        eventually(lambda: len(daemon.worker_pids()) == 2, 20)
        assert {who(tcp) for _ in range(10)} == {other}
        assert address(session) in operator.clients(client="127.0.0.1", app="web", origin=name)
        assert operator.run("origin", "enable", name)[0] == 0
        for weights in ({mine: 0, other.decode(): None}, {mine: None, other.decode(): 0}):
            for origin, weight in weights.items():
                value = () if weight is None else (str(weight),)
                assert operator.run("origin", "weight", f"p/{origin}", *value)[0] == 0
            left = other if weights[mine] == 0 else home
            eventually(lambda left=left: {who(tcp) for _ in range(20)} == {left}, 2)
        for command in (("weight", "p/x", "0.5"), ("drain", "p")):
            code, said = operator.run("origin", *command)
            assert code == 1 and f'there is no origin "{command[1]}" in a pool' in said
        os.kill(answer["pid"], signal.SIGTERM)
        session.close()
        eventually(lambda: not daemon.socket.exists(), 20)
    # A restart.
    with Daemon(tmp_path, text, env=env) as daemon:
        assert f"origin p/{other.decode()}: weight 0 by hand since" in daemon.messages()
        assert {who(tcp) for _ in range(5)} == {home}
        assert [one["origin"] for one in daemon.status()["origins_by_hand"]] == [f"p/{other.decode()}"]
