"""Records on their way into the embedded store, of a daemon as users run it."""

import json
import os
import random
import signal
import socket
import threading
import time
from contextlib import ExitStack, suppress
from math import sqrt
from pathlib import Path

import pytest

from spectrum.analytics.embedded import EmbeddedStore
from spectrum.cli.client import DaemonError, ask
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually

SEED = random.randrange(1 << 30)


class Sum:
    """An origin that counts what comes and goes; clients of the edge that do the same."""

    def __init__(self):
        self.lock = threading.Lock()
        self.in_bytes = self.out_bytes = self.sessions = 0
        self.over = threading.Event()
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection, _ = self.sock.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        came = went = 0
        with connection:
            while data := connection.recv(1 << 16):
                came += len(data)
                connection.sendall(data * 2)
                went += 2 * len(data)
        with self.lock:
            self.in_bytes, self.out_bytes, self.sessions = (
                self.in_bytes + came,
                self.out_bytes + went,
                self.sessions + 1,
            )

    def visit(self, port, rng):
        """Have some clients until it is over."""
        while not self.over.is_set():
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 20) as client:
                for _ in range(rng.randrange(1, 4)):
                    data = bytes(rng.randrange(1, 3000))
                    client.sendall(data)
                    left = 2 * len(data)
                    while left:
                        received = client.recv(left)
                        assert received, "the session ended early"
                        left -= len(received)
            time.sleep(0.01)


def analytics(daemon):
    with suppress(DaemonError):
        return daemon.status().get("analytics")


def api_pid(daemon):
    with suppress(DaemonError):
        return daemon.status()["api"]["pid"]


def rows(folder):
    """What the store has: rows, those of sessions, distinct ones, bytes from clients and origins; events of changes."""
    store = EmbeddedStore(folder)
    store.open()
    (found,) = store.execute(
        "SELECT count(*), count(*) FILTER (event = 'disconnect'), count(DISTINCT (source, sequence)),"
        " sum(client_bytes), sum(origin_bytes) FROM events"
    )
    changes = [event for (event,) in store.execute("SELECT event FROM changes ORDER BY time")]
    store.close()
    return tuple(map(int, found)), changes


@pytest.mark.skipif(os.geteuid() != 0, reason="its process becomes another user")
def test_each_record_is_there_once_whatever_is_killed(tmp_path, free_port):
    """The sums in the store are what a real origin counted."""
    port, origin = free_port(), Sum()
    text = f"""
seccomp: true
log: {{sessions: false}}
api: {{user: nobody, listen: 'unix:{tmp_path}/public.sock'}}
analytics: true
records: {{events: [progress], progress_interval: 1s}}
apps:
  web: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{origin.port}']}}
"""
    clients = [
        threading.Thread(target=origin.visit, args=(port, random.Random(SEED + number)), daemon=True)
        for number in range(4)
    ]
    first = Daemon(tmp_path, text, workers=2)
    with first:
        eventually(lambda: api_pid(first), 30)
        for client in clients:
            client.start()
        eventually(lambda: analytics(first)["rows"] > 20, 30)
        held = socket.create_connection(("127.0.0.1", port))
        held.sendall(b"x" * 1000)

        killed = api_pid(first)
        os.kill(killed, signal.SIGKILL)
        first.write(text.replace("log:", "node: {region: WEU}\nlog:"))
        assert first.reload() == []
        eventually(lambda: api_pid(first) not in (None, 0, killed), 30)

        upgraded = ask(first.socket, "POST", "/upgrade", 100)
        assert upgraded["errors"] == []
        first.process.wait(20)
        eventually(lambda: (api_pid(first) or 0) and analytics(first)["rows"] > 0, 30)

        os.kill(upgraded["pid"], signal.SIGKILL)
        # Its workers, which are to hand their sessions on, end with `first`.
        second = Daemon(tmp_path, text, workers=2)
        with second:
            eventually(
                lambda: (api_pid(second) or 0) and analytics(second)["rows"] > 0,
                30,
                lambda: f"{second.status()} {second.messages()}",
            )
            os.kill(api_pid(second), signal.SIGKILL)
            origin.over.set()
            for client in clients:
                client.join(20)
            held.sendall(b"x" * 24)
            left = 2 * 1024
            while left:
                data = held.recv(left)
                assert data, "the session has ended"
                left -= len(data)
            held.close()
            eventually(lambda: not second.app("web")["sessions"], 30)
            journal = second.status()["records"]["journal"]
            assert journal["lost"] == 0
            eventually(lambda: (now := analytics(second)) and now["lag_records"] == 0 and now["rows"] > 0, 30)
            time.sleep(1.2)
            eventually(lambda: analytics(second)["lag_records"] == 0, 30)
            shown = analytics(second)
            assert shown["lost"] == 0 and shown["bytes"] > 0
    (count, ended, distinct, client_bytes, origin_bytes), changes = rows(Path(shown["store"]))
    assert count == distinct
    assert (ended, client_bytes, origin_bytes) == (origin.sessions, origin.in_bytes, origin.out_bytes)
    assert "configurationReloaded" in changes and changes.count("configurationStarted") == 3


def sessions(port, listener, count, rng):
    """Have so many sessions, 50 at a time, and return how many bytes the origin sends in each."""
    moved = [rng.randrange(1, 2000) for _ in range(count)]
    for at in range(0, count, 50):
        with ExitStack() as stack:
            some = moved[at : at + 50]
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in some]
            for size in some:
                origin, _ = listener.accept()
                with origin:
                    origin.sendall(bytes(size))
            for client in clients:
                while client.recv(4096):
                    pass
    return moved


@pytest.mark.skipif(os.geteuid() != 0, reason="its process becomes another user")
def test_what_a_stopped_supervisor_does_not_take_is_sampled(tmp_path, free_port):
    """Sums over what is kept are those of all sessions, within the bound, and all are kept once it goes on."""
    port, kept, app, rng = free_port(), tmp_path / "kept", "web-" + "x" * 50, random.Random(SEED)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        listener.settimeout(30)
        text = f"""
log: {{sessions: false}}
api: {{user: nobody, listen: 'unix:{tmp_path}/public.sock'}}
analytics: true
node: {{name: {"n" * 60}}}
records: {{events: [connect], journal: {{path: {tmp_path}/journal}}, sinks: {{kept: {{path: {kept}}}}}}}
apps:
  {app}:
    protocol: tcp/{port}
    edge_ips: [127.0.0.1]
    origin_direct: ['tcp://127.0.0.1:{listener.getsockname()[1]}']
"""

        def records():
            written, _, _ = kept.read_text().rpartition("\n")
            return [record for record in map(json.loads, written.splitlines()) if record["Event"] == "disconnect"]

        with Daemon(tmp_path, text) as daemon:
            eventually(lambda: api_pid(daemon) and analytics(daemon), 30)
            os.kill(daemon.process.pid, signal.SIGSTOP)
            try:
                moved = sessions(port, listener, 6000, rng)
            finally:
                os.kill(daemon.process.pid, signal.SIGCONT)
            eventually(lambda: daemon.app(app)["sessions"] == 0, 30)
            eventually(lambda: "(SampledOneIn): records are left out" in daemon.messages(), 30)
            # Once nothing waits, all are kept again.
            eventually(
                lambda: moved.extend(sessions(port, listener, 1, rng)) or "SampledOneIn" not in records()[-1], 30
            )
            eventually(lambda: analytics(daemon)["lag_records"] == 0 and records()[-1]["OriginBytes"] == moved[-1], 30)
            store = EmbeddedStore(Path(analytics(daemon)["store"]))
    told = [(record.get("SampledOneIn", 1), record["OriginBytes"]) for record in records()]
    factors = {factor for factor, _ in told}
    assert len(factors) > 1
    store.open()
    ((weight, moved_bytes),) = store.execute(
        "SELECT sum(weight), sum(origin_bytes) FROM events WHERE event <> 'connect'"
    )
    store.close()
    assert (weight, moved_bytes) == (sum(factor for factor, _ in told), sum(factor * size for factor, size in told))
    # Not above five standard deviations but once in a million.
    assert abs(weight - len(moved)) <= 5 * sqrt(sum(factor * (factor - 1) for factor, _ in told))
    deviation = sqrt(sum(factor * (factor - 1) * size**2 for factor, size in told))
    assert abs(moved_bytes - sum(moved)) <= 5 * deviation
