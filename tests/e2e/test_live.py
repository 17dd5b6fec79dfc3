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
from tests.engine.harness import eventually

# As good as certainly both workers have some.
COUNT = 24


def echoing(kind):
    """Return the port of a socket whose clients get back what they send."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))

    def answer(connection):
        with connection:
            while data := connection.recv(1000):
                connection.sendall(data)

    def serve():
        if kind == socket.SOCK_DGRAM:
            while True:
                data, client = sock.recvfrom(1000)
                sock.sendto(data, client)
        sock.listen()
        while True:
            threading.Thread(target=answer, args=(sock.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return sock.getsockname()[1]


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
            ({"client": "x"}, 'client: "x" is no address and no prefix'),
            ({"origin": "two"}, 'origin: "two" is no address and no origin of a pool; write POOL/ORIGIN or '),
            ({"sort": "x"}, '"x" is no order of sessions: age, bytes, idle, app, client'),
            ({"min_bytes": "much"}, "min_bytes: 'much' is not a size"),
            ({"limit": 10001}, "limit: 10001 is more than 10000"),
            ({"limit": "x"}, 'limit: "x" is no number'),
            ({"ids": "x"}, '"x" is no id of a session'),
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
        assert [one["Reason"] for one in daemon.wait_for_events(COUNT + 2)] == ["killed"] * (COUNT + 2)
        assert f"uid {os.getuid()} ended {COUNT} sessions and flows: app web" in daemon.messages()
        os.kill(answer["pid"], signal.SIGTERM)
        eventually(lambda: not daemon.socket.exists(), 20)
