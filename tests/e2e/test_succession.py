"""A new supervisor takes over what another one served, by an upgrade or after a kill. Under load nothing is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from spectrum.cli.client import DaemonError, ask
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually, port_of
from tests.engine.harness import listening as listen


class Load:
    """Clients that come all the time, each checking what comes back; one session and one flow that last."""

    def __init__(self, tcp_port, udp_port):
        self.tcp_port, self.udp_port = tcp_port, udp_port
        self.done = {"session": 0, "flow": 0, "datagram": 0}
        self.lost = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._sessions, self._flows, self._datagrams)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, kind, once):
        while not self._stop.is_set():
            try:
                once()
                self.done[kind] += 1
            except (OSError, AssertionError) as exc:
                self.lost.append((kind, repr(exc)))

    def _sessions(self):
        def once():
            data = os.urandom(2000)
            with socket.create_connection(("127.0.0.1", self.tcp_port), 5) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                got = b""
                while part := sock.recv(65536):
                    got += part
            assert got == data

        self._repeat("session", once)

    def _flows(self):
        def once():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                self._ask(sock)
            time.sleep(0.002)

        self._repeat("flow", once)

    def _datagrams(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            self._repeat("datagram", lambda: self._ask(sock))

    def _ask(self, sock):
        data = os.urandom(20)
        sock.settimeout(3)
        sock.sendto(data, ("127.0.0.1", self.udp_port))
        assert sock.recv(100) == data


def echo(connection):
    with connection, suppress(OSError):
        while data := connection.recv(65536):
            connection.sendall(data)


@contextmanager
def origins():
    """A TCP and a UDP echo, and the set of (address, port) from which the flow that lasts came."""
    stop, seen = threading.Event(), set()
    with listen(1024) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.settimeout(0.1)
        udp.settimeout(0.1)
        udp.bind(("127.0.0.1", 0))

        def serve():
            while not stop.is_set():
                with suppress(TimeoutError):
                    threading.Thread(target=echo, args=(tcp.accept()[0],), daemon=True).start()

        def answer():
            while not stop.is_set():
                with suppress(TimeoutError):
                    data, client = udp.recvfrom(2000)
                    if data == b"here":
                        seen.add(client)
                    udp.sendto(data, client)

        threads = [threading.Thread(target=work) for work in (serve, answer)]
        for thread in threads:
            thread.start()
        yield port_of(tcp), port_of(udp), seen
        stop.set()
        for thread in threads:
            thread.join()


def has_ended(pid: int) -> bool:
    """Tell whether a process that is not our child is gone; whoever its parent is may not have waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Edge:
    """A daemon of two workers with a TCP and a UDP app; after a succession it is another process."""

    def __init__(self, folder, free_port, tcp_origin, udp_origin):
        self.tcp, self.udp = free_port(), free_port()
        # All records are written: a supervisor that takes over gets those of seconds at once.
        self.text = (
            f"apps:\n  t: {{protocol: tcp/{self.tcp}, edge_ips: [127.0.0.1], "
            f"origin_direct: [tcp://127.0.0.1:{tcp_origin}]}}\n"
            f"  u: {{protocol: udp/{self.udp}, edge_ips: [127.0.0.1], "
            f"origin_direct: [udp://127.0.0.1:{udp_origin}]}}\n"
            "log: {sessions_per_second: 0}\n"
            f"records: {{journal: {{path: {folder}/journal}}, sinks: {{kept: {{path: {folder}/kept}}}}}}\n"
        )
        self.kept = folder / "kept"
        self.daemon = Daemon(folder, self.text, workers=2)

    def upgrade(self, *options):
        command = [sys.executable, "-m", "spectrum", "upgrade", "--socket", str(self.daemon.socket), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def serves(self):
        try:
            status = self.daemon.status()
            return status["generation"] and sum(worker["ready"] for worker in status["workers"]) == 2
        except DaemonError:
            return False

    def records(self):
        """How many sessions of TCP are recorded."""
        return sum(event["Application"] == "t" for event in self.daemon.events())

    def kept_ids(self):
        """The ids of records in the file of the sink: who made them, and their numbers there."""
        ids = [json.loads(line)["RecordId"] for line in self.kept.read_text().splitlines()]
        found = {}
        for source, _, number in (one.rpartition("/") for one in ids):
            found.setdefault(source, []).append(int(number))
        return found

    def relieved(self):
        """The workers of earlier supervisors that still have sessions."""
        return [worker for worker in self.daemon.status()["workers"] if "relieved" in worker]

    def stop(self):
        """End the process that serves now."""
        with suppress(DaemonError):
            pid = self.daemon.status()["pid"]
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not self.answers(), 15)
            eventually(lambda: has_ended(pid), 15)  # what its sinks still write is whole then

    def answers(self):
        with suppress(DaemonError):
            return bool(ask(self.daemon.socket, "GET", "/status"))
        return False


@pytest.fixture
def edge(tmp_path, free_port):
    with origins() as (tcp_origin, udp_origin, seen):
        made = Edge(tmp_path, free_port, tcp_origin, udp_origin)
        made.seen = seen
        with made.daemon:
            yield made
            made.stop()


def lasting(edge):
    """A session and a flow that last, with a proof that they do."""
    session = socket.create_connection(("127.0.0.1", edge.tcp), 5)
    flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    flow.settimeout(5)
    flow.connect(("127.0.0.1", edge.udp))

    def proof():
        session.sendall(b"still")
        assert session.recv(10) == b"still"
        before = set(edge.seen)
        flow.send(b"here")
        assert flow.recv(10) == b"here"
        return edge.seen - before

    proof()
    proof()  # the flow is confirmed
    return session, flow, proof


def test_an_upgrade_loses_nothing(edge):
    session, flow, proof = lasting(edge)
    workers = edge.daemon.worker_pids()
    with session, flow:
        with Load(edge.tcp, edge.udp) as load:
            time.sleep(0.5)
            for _ in range(2):  # one after the other, with the first one's workers still there
                before = edge.daemon.status()
                done = edge.upgrade()
                assert done.returncode == 0, done.stderr
                assert f"pid {edge.daemon.status()['pid']}" in done.stdout
                assert edge.daemon.status()["pid"] != before["pid"]
                time.sleep(0.5)
                assert not proof(), "the flow has another source port"
                eventually(edge.serves)  # it can be left again
            assert edge.daemon.process.wait(5) == 0
            assert not set(workers) & set(edge.daemon.worker_pids())
            eventually(lambda: len(edge.relieved()) == 1, explain=lambda: f"only one has a session: {edge.relieved()}")
            assert [(worker["sessions"], worker["pid"] in workers) for worker in edge.relieved()] == [(1, True)]
        assert load.lost == []
        assert min(load.done.values()) > 50, load.done
        # What is counted stays right: one session is open, and its end is recorded by the daemon of now.
        eventually(lambda: edge.daemon.app("t")["sessions"] == 1)
    eventually(lambda: edge.daemon.app("t")["sessions"] == 0)
    eventually(lambda: len(edge.daemon.status()["workers"]) == 2)
    eventually(
        lambda: edge.records() == load.done["session"] + 1,
        explain=lambda: f"{load.done['session'] + 1} sessions, {edge.records()} records: {edge.daemon.messages()}",
    )
    # Each supervisor went on with the journal and its sink where the one before left off: none is twice, none missing.
    edge.stop()
    kept = edge.kept_ids()
    assert len(kept) > 2
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in kept.values())
    assert sum(map(len, kept.values())) == len(edge.daemon.events())


def test_a_killed_supervisor_is_followed(edge):
    session, flow, proof = lasting(edge)
    with session, flow, Load(edge.tcp, edge.udp) as load:
        time.sleep(0.5)
        edge.daemon.process.kill()
        edge.daemon.process.wait()
        time.sleep(1)
        assert not proof(), "nobody notices"
        done = dict(load.done)
        follower = subprocess.Popen(edge.daemon.process.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(edge.serves, 60)
        time.sleep(0.5)
        assert not proof(), "the flow has another source port"
    assert load.lost == []
    assert all(load.done[kind] > count for kind, count in done.items())
    session.close()
    edge.stop()
    assert follower.wait(10) == 0
    # None is missing; what the killed one had may be there twice.
    kept = edge.kept_ids()
    assert len(kept) > 2
    assert all(set(numbers) == set(range(1, max(numbers) + 1)) for numbers in kept.values())


def test_a_file_with_faults_is_not_followed(edge):
    """The one that serves goes on, and the faults are told."""
    text = edge.daemon.path.read_text()
    edge.daemon.path.write_text(text.replace("tcp/", "tpc/"))
    before = edge.daemon.status()["pid"]
    done = edge.upgrade()
    assert done.returncode == 1
    assert "apps.t.protocol" in done.stderr
    assert ":2:" in done.stderr
    assert edge.daemon.status()["pid"] == before
    assert "upgrade refused" in edge.daemon.messages()
    done = edge.upgrade("--python", "/bin/true")
    assert (done.returncode, "it ended at once" in done.stderr) == (1, True)
    # What the next one has yet to get, after it has read the file, is missing.
    with listen() as taken:
        edge.daemon.path.write_text(f"{text}\nmetrics: {{listen: 127.0.0.1:{port_of(taken)}}}\n")
        done = edge.upgrade()
    assert (done.returncode, "address already in use" in done.stderr) == (1, True), done.stderr
    assert edge.daemon.status()["pid"] == before
    assert edge.serves()


def test_workers_that_nobody_takes_over_end(edge):
    """Killed with their supervisor, or told: no process is left."""
    pids = edge.daemon.worker_pids()
    edge.daemon.process.kill()
    edge.daemon.process.wait()
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    # What they left behind does not stop the next one.
    follower = subprocess.Popen(edge.daemon.process.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(edge.serves, 60)
    edge.stop()
    assert follower.wait(10) == 0
