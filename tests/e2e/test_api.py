"""The control API of a daemon: its own process, its store, and what becomes of both in a bad moment."""

import http.client
import json
import os
import pwd
import signal
import socket
import sqlite3
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from spectrum.cli.client import DaemonError, ask
from spectrum.control.paths import state_folder
from tests.certificates import Authority
from tests.e2e.daemon import Daemon
from tests.e2e.echoes import certificate_at, echoing
from tests.engine.harness import eventually

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

# Of kills; `SPECTRUM_SOAK=1` has it as often as it takes.
ROUNDS = 40 if os.environ.get("SPECTRUM_SOAK") else 2

APP = "apps:\n  file: {{protocol: tcp/{}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:1']}}\n"


class Unix(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Edge:
    """A daemon with an API."""

    def __init__(self, folder, port):
        self.folder, self.path, self.port = folder, folder / "control.sock", port
        self.text = (
            APP.format(port) + f"api: {{store: {folder}/store, user: nobody, listen: unix:{folder}/public.sock}}\n"
        )
        self.daemon = None

    def ask(self, method, path, body=None):
        """Ask as the command line does."""
        connection = Unix(self.folder / "api.sock")
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, f"/client/v4{path}", body and json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def result(self, method, path, body=None):
        """Return the result of a call that succeeds."""
        status, answer = self.ask(method, path, body)
        assert status == 200, answer
        return answer["result"]

    def put(self, **apps):
        """Have apps, by the vocabulary of the file."""
        return self.ask("POST", "/spectrum/import", {"objects": {"apps": apps}})

    def api(self):
        return self.daemon.status()["api"]

    def apps(self):
        return sorted(one["name"] for one in self.daemon.status()["apps"])

    def serves(self):
        try:
            return self.api()["pid"] != 0
        except DaemonError:
            return False

    def stored(self):
        with sqlite3.connect(self.folder / "store/store.sqlite3") as connection:
            return sorted(name for (name,) in connection.execute("SELECT name FROM objects WHERE section = 'apps'"))

    def follow(self):
        """Kill the supervisor, and start another one."""
        self.daemon.process.kill()
        self.daemon.process.wait()
        self.daemon.__init__(self.folder, self.text)
        self.daemon.__enter__()
        eventually(self.serves, 30, self.daemon.messages)

    @contextmanager
    def running(self):
        with Daemon(self.folder, self.text) as self.daemon:
            eventually(self.serves, 30, self.daemon.messages)
            yield self.daemon


@pytest.fixture
def edge(free_port):
    """A daemon's folder, where everybody finds it."""
    with tempfile.TemporaryDirectory(prefix="spectrum-api-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield Edge(folder, free_port())


def app(port):
    return {"protocol": f"tcp/{port}", "edge_ips": ["127.0.0.1"], "origin_direct": ["tcp://127.0.0.1:1"]}


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:  # its origin refuses
        pass
    return True


def test_its_process(edge, free_port):
    one, other = free_port(), free_port()
    with edge.running() as daemon:
        assert edge.put(one=app(one))[0] == 200
        assert (edge.apps(), edge.stored(), listens(one)) == (["file", "one"], ["one"], True)
        pid = edge.api()["pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert (lines["CapPrm"], lines["CapEff"], lines["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
        if os.geteuid() == 0:
            assert int(lines["Uid"].split()[0]) == pwd.getpwnam("nobody").pw_uid
        assert edge.put(two=app(one))[0] >= 400, "its port is taken"
        os.kill(pid, signal.SIGKILL)
        assert edge.put(two=app(other))[0] == 200, "who asks meanwhile waits"
        assert edge.api()["restarts"] == 1
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1):
            os.kill(edge.api()["pid"], number)
        assert edge.ask("GET", "/accounts")[0] == 200
        assert (edge.api()["restarts"], daemon.reload()) == (1, [])
        assert edge.apps() == ["file", "one", "two"]
    with edge.running():
        assert edge.apps() == ["file", "one", "two"]


class Writers:
    """Puts app after app, and remembers which were acknowledged."""

    def __init__(self, edge, ports):
        self.acknowledged, self.failures, self.going = [], [], True
        self._edge, self._ports = edge, ports
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(3)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        count = 0
        while self.going:
            name, count = f"w{number}-{count}", count + 1
            try:
                status, answer = self._edge.put(**{name: app(self._ports())})
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(repr(exc))
                time.sleep(0.05)
            else:
                if status == 200:
                    self.acknowledged.append(name)
                else:
                    self.failures.append(answer)

    def stop(self):
        self.going = False
        for thread in self._threads:
            thread.join(60)
        return sorted(self.acknowledged)


def test_a_client_that_sends_too_much_is_told_so(edge):
    """Clients such as http.client send a whole body before they read: of a closed connection they see only that."""
    with edge.running():
        account = edge.result("GET", "/accounts")[0]["id"]
        for mebibytes in (2, 40):
            pool = {"name": "x" * (mebibytes << 20), "origins": []}
            status, answer = edge.ask("POST", f"/accounts/{account}/load_balancers/pools", pool)
            assert (status, answer["errors"][0]["message"]) == (413, "The body is larger than 1 MiB")
        assert edge.result("GET", "/accounts")


def test_an_upgrade_refuses_nobody(edge, free_port):
    with edge.running() as daemon:
        writers = Writers(edge, free_port)
        eventually(lambda: len(writers.acknowledged) >= 3, 20)
        before = edge.api()["pid"]
        done = ask(edge.path, "POST", "/upgrade", timeout_s=60)
        assert done["errors"] == []
        eventually(lambda: edge.api()["pid"] not in (0, before), 30, daemon.messages)
        count = len(writers.acknowledged)
        eventually(lambda: len(writers.acknowledged) > count, 20)
        names = writers.stop()
        assert not [one for one in writers.failures if isinstance(one, str)], "a connection that was refused or cut"
        assert edge.apps() == sorted([*edge.stored(), "file"])
        assert set(names) <= set(edge.stored())
        os.kill(daemon.status()["pid"], signal.SIGTERM)
        daemon.process.wait(20)


@pytest.mark.parametrize("victim", ["api", "supervisor"])
def test_kills_in_the_middle_of_changes(edge, free_port, victim):
    with edge.running() as daemon:
        writers = Writers(edge, free_port)
        for number in range(ROUNDS):
            count = len(writers.acknowledged)
            eventually(lambda: len(writers.acknowledged) > count + 2, 30, daemon.messages)  # noqa: B023
            if victim == "api":
                os.kill(edge.api()["pid"], signal.SIGKILL)
                eventually(lambda: edge.api()["restarts"] > number and edge.serves(), 30, daemon.messages)  # noqa: B023
            else:
                edge.follow()
        names = writers.stop()
        assert set(names) <= set(edge.stored()), "each that was acknowledged is there"
        assert edge.apps() == sorted([*edge.stored(), "file"]), "and no other is served"


def test_a_file_that_takes_a_port_of_the_api(edge, free_port):
    port = free_port()
    with edge.running() as daemon:
        assert edge.put(one=app(port))[0] == 200
        daemon.write(edge.text.replace("apps:\n", f"apps:\n  more: {json.dumps(app(port))}\n"))
        assert daemon.reload() == [f"stored app one: protocol: 127.0.0.1:{port} is taken by app more"]
    edge.text = edge.text.replace("apps:\n", f"apps:\n  more: {json.dumps(app(port))}\n")
    with edge.running() as daemon:
        assert edge.apps() == ["file", "more"]
        (aside,) = edge.api()["set_aside"]
        assert (aside["name"], aside["message"]) == ("one", f"127.0.0.1:{port} is taken by app more")
        assert "stored app one is set aside" in daemon.messages()


def test_a_certificate_over_restarts(edge, free_port):
    """One that was sent is served by the next daemon. Without what opens its key it is set aside, and nothing else."""
    origin, port, authority = echoing(socket.SOCK_STREAM), free_port(), Authority()
    edge.text = edge.text.replace("tcp://127.0.0.1:1'", f"tcp://127.0.0.1:{origin}'") + "zones: {example.com: {}}\n"
    issued = authority.issue("tls.example.com")
    body = {"certificate": issued.chain.decode(), "private_key": issued.key.decode()}

    def is_served():
        found = certificate_at(port, "tls.example.com", authority)
        return found == issued.certificate.public_bytes(Encoding.DER)

    with edge.running():
        zone = edge.result("GET", "/zones?name=example.com")[0]["id"]
        sent = edge.result("POST", f"/zones/{zone}/custom_certificates", body)["id"]
        of_app = {"protocol": f"tcp/{port}", "dns": {"type": "CNAME", "name": "tls.example.com"}, "tls": "flexible"}
        of_app |= {"origin_direct": [f"tcp://127.0.0.1:{origin}"], "edge_tls": {"certificates": [sent]}}
        edge.result("POST", f"/zones/{zone}/spectrum/apps", of_app)
        assert is_served()
    with edge.running(), socket.create_connection(("127.0.0.1", edge.port), 30) as session:
        eventually(is_served, 30)

        def goes_on():
            session.sendall(b"still")
            return session.recv(10) == b"still"

        assert goes_on()
        state_folder(edge.path).joinpath("sealing.key").unlink()
        (refused,) = edge.daemon.reload()
        assert "sealing.key, which opens sealed keys, is not there; send the key again" in refused
        assert is_served(), "a reload that is refused changes nothing"
        edge.follow()
        assert goes_on(), "a session of an app that has nothing to do with it"
        aside = {one["section"]: one for one in edge.api()["set_aside"]}
        assert set(aside) == {"apps", "certificates"}
        name, why = aside["certificates"]["name"], aside["certificates"]["message"]
        assert why in refused
        assert f"stored certificate {name} is set aside: {why}" in edge.daemon.messages()
        assert (edge.apps(), listens(port)) == (["file"], False)
        edge.result("PATCH", f"/zones/{zone}/custom_certificates/{sent}", body)
        assert edge.daemon.reload() == []
        assert edge.apps() == ["file", "tls.example.com"]
        assert (edge.api()["set_aside"], is_served(), goes_on()) == ([], True, True)
