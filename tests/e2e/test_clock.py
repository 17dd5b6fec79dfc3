"""The wall clock of a running daemon is stepped by days, forward and back, while clients write and connect.

libfaketime steps it (CLOCK_REALTIME alone, as settimeofday(2) does): a file has by how much, and each process of the
daemon reads it.
"""

import http.client
import json
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.echoes import echoing
from tests.e2e.operator_tools import local_api
from tests.engine.harness import eventually

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("duckdb")

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
STEPS = ("+2d", "+0", "-2d", "+0")
WRITERS = 3


class Clock:
    """The clock of a daemon. Its file is in the store's folder, which the API's process may read."""

    def __init__(self, store):
        store.mkdir(0o700)
        shutil.chown(store, "nobody")
        self._path = store / "clock"
        self.step("+0")
        self.env = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def step(self, by):
        fresh = self._path.with_name("clock.new")
        fresh.write_text(by)
        fresh.chmod(0o644)
        fresh.replace(self._path)


class Edge:
    """A daemon with a clock of its own, an app and analytics."""

    def __init__(self, folder, free_port):
        self.port, self.app_port = free_port(), free_port()
        self.clock = Clock(folder / "store")
        origin = echoing(socket.SOCK_STREAM)
        self.file = f"""
zones: {{example.com: {{}}}}
api: {{listen: 127.0.0.1:{self.port}, user: nobody, store: {folder}/store}}
analytics: {{store: {folder}/analytics}}
records: {{journal: {{path: {folder}/journal}}}}
apps: {{x: {{protocol: tcp/{self.app_port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{origin}']}}}}
"""
        self.sessions = 0

    def ask(self, method, path, body=None, token=""):
        """Return status, result or error code, and headers of the answer to a client on the network."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            connection.request(method, f"/client/v4{path}", body and json.dumps(body), headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            return answer.status, told["result"] or told["errors"], answer.headers
        finally:
            connection.close()

    def visit(self):
        """Open a session, and end it."""
        with socket.create_connection(("127.0.0.1", self.app_port), 10) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        self.sessions += 1


@pytest.fixture(scope="module")
def edge(free_port, require):
    require("faketime")
    with tempfile.TemporaryDirectory(prefix="spectrum-clock-") as name:
        Path(name).chmod(0o755)
        made = Edge(Path(name), free_port)
        with Daemon(Path(name), made.file, env=made.clock.env, warm=False) as made.daemon:
            eventually(lambda: made.daemon.status()["api"]["pid"], 60, made.daemon.messages)
            yield made


@contextmanager
def writing(edge, path, token):
    """Write all the while, each client to an object of its own; yield what was acknowledged, and what was not."""
    acknowledged, failures, stop = {}, [], threading.Event()

    def write(monitor):
        value, seen = 10, acknowledged.setdefault(monitor, [])
        while not stop.is_set():
            value += 1
            status, told, headers = edge.ask("PATCH", f"{path}/{monitor}", {"interval": value}, token)
            if status == 200:
                seen.append((value, int(headers["etag"].strip('"'))))
            else:
                failures.append((status, told))

    monitors = [
        edge.ask("POST", path, {"type": "tcp", "port": 1, "description": f"m{i}"}, token)[1]["id"]
        for i in range(WRITERS)
    ]
    threads = [threading.Thread(target=write, args=(monitor,)) for monitor in monitors]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged, failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def token_of(api, account, **more):
    groups = {group["name"]: group["id"] for group in api.result("GET", "/user/tokens/permission_groups")}
    policy = {
        "effect": "allow",
        "permission_groups": [{"id": groups["Everything Write"]}],
        "resources": {f"com.cloudflare.api.account.{account}": "*"},
    }
    return api.result("POST", "/user/tokens", {"name": "t", "policies": [policy], **more})["value"]


def test_a_clock_that_is_stepped(edge):
    with closing(local_api(edge.daemon)) as api:
        account = api.result("GET", "/accounts")[0]["id"]
        monitors, now = f"/accounts/{account}/load_balancers/monitors", datetime.now(UTC)
        token = token_of(api, account)
        ends = token_of(api, account, expires_on=(now + timedelta(days=1)).isoformat())
        begins = token_of(api, account, not_before=(now - timedelta(days=1)).isoformat())
        # What a token may, by the clock.
        may = {"+0": (200, 200), "+2d": (403, 200), "-2d": (200, 403)}
        pids = edge.daemon.worker_pids(), edge.daemon.status()["api"]["pid"]

        with (
            socket.create_connection(("127.0.0.1", edge.app_port), 10) as session,
            writing(edge, monitors, token) as (acknowledged, failures),
        ):
            for by in STEPS:
                edge.clock.step(by)
                known = {monitor: len(seen) for monitor, seen in acknowledged.items()}
                for _ in range(5):
                    edge.visit()
                assert tuple(edge.ask("GET", monitors, token=one)[0] for one in (ends, begins)) == may[by]
                session.sendall(b"x")
                assert session.recv(1) == b"x", "a session goes on"
                eventually(lambda: all(len(acknowledged[one]) > count + 3 for one, count in known.items()), 60)  # noqa: B023
                if by == "+2d":
                    eventually(lambda: "the clock was stepped forward" in edge.daemon.messages(), 60)
        edge.sessions += 1

        assert failures == []
        assert pids == (edge.daemon.worker_pids(), edge.daemon.status()["api"]["pid"])
        for monitor, seen in acknowledged.items():
            revisions = [revision for _, revision in seen]
            assert revisions == sorted(set(revisions))
            assert edge.ask("GET", f"{monitors}/{monitor}", token=token)[1]["interval"] == seen[-1][0]
            assert audited(edge, account, monitor, token) == [value for value, _ in seen], "in the order of the changes"
        is_counted(edge, account, token)


def audited(edge, account, monitor, token):
    """Return the values that the audit log has for an object, the first one first."""
    values = []
    for page in range(1, 1000):
        lines = edge.ask("GET", f"/accounts/{account}/audit_logs?page={page}&per_page=1000", token=token)[1]
        if not lines:
            break
        values += [
            json.loads(one["newValue"])["interval"]
            for one in lines
            if one["resource"]["id"] == monitor and one["action"]["type"] == "update"
        ]
    return values[::-1]


def is_counted(edge, account, token):
    """Check that analytics has each session once, whichever day it was by the clock, and that no id came twice."""
    now = time.time()
    question = {
        "metrics": ["count"],
        "filter": "event==disconnect",
        "since": now - 4 * 86400,
        "until": now + 4 * 86400,
        "bucket": 86400,
    }

    def rows():
        status, told, _ = edge.ask("POST", f"/accounts/{account}/analytics/query", question, token)
        assert status == 200, told
        return told["rows"]

    eventually(lambda: sum(row[-1] for row in rows()) >= edge.sessions, 60, rows)
    assert sum(row[-1] for row in rows()) == edge.sessions
    assert len({datetime.fromtimestamp(row[0], UTC).date() for row in rows()}) >= 3, rows()
    events = [one for one in edge.daemon.events() if one["Event"] == "disconnect"]
    assert max(Counter(one["SessionId"] for one in events).values()) == 1
    assert len(events) == edge.sessions


def test_guesses_of_tokens_are_slowed_down_by_a_clock_that_is_never_stepped(edge):
    monitors = "/user/tokens/verify"
    answers = [edge.ask("GET", monitors, token="x" * 40)[0] for _ in range(12)]
    assert answers == [401] * 10 + [429] * 2
    for by in STEPS:
        edge.clock.step(by)
        assert edge.ask("GET", monitors, token="x" * 40)[0] == 429
