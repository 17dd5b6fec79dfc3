"""The edge whose dashboard is measured: a week of traffic with an outage in its store, open sessions, and many apps."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.api import fill
from benchmarks.changes import ECHO, ORIGIN_PORT
from benchmarks.processes import Running
from spectrum.analytics.embedded import EmbeddedStore
from spectrum.cli.client import UnixConnection
from spectrum.core.analytics.columns import EVENTS
from spectrum.core.records.journal import Cursor
from spectrum.store.objects import file_id
from tests.dashboard.day import BAD_ORIGIN, Day

API_PORT, CLOSED_PORT = 8901, 8199
# The apps of the file, by the names that the sessions of the day have; the API's store has others beside them.
PORTS = {"postgres": 7932, "mqtt": 7983, "ssh-bastion": 7922}
OPEN_SESSIONS = 200
# The day is repeated for so many days, each session so many times, at other moments and from other addresses.
DAYS, COPIES = 7, 30
MOVED_S = 300
# Numbers of a source's records lie this far apart in two copies.
_APART = 10_000_000
_BOTH_CORES = set(range(os.cpu_count() or 1))


def _text(folder: Path) -> str:
    user = "user: nobody, " if os.geteuid() == 0 else ""
    origin = f"address: 127.0.0.1, port: {ORIGIN_PORT}"
    return f"""
control: {{socket: {folder}/control.sock}}
workers: 2
log: {{sessions: false}}
api: {{{user}listen: "127.0.0.1:{API_PORT}", store: {folder}/store, rate_limit: {{requests: 1000000}}}}
analytics: {{store: {folder}/analytics}}
records: {{journal: {{path: {folder}/records}}}}
zones: {{example.com: {{}}}}
monitors: {{pg: {{type: tcp, interval: 5, timeout: 1, retries: 0}}}}
pools:
  postgres:
    monitor: pg
    origins:
      - {{name: pg-1, {origin}}}
      - {{name: {BAD_ORIGIN}, address: 127.0.0.1, port: {CLOSED_PORT}}}
      - {{name: pg-3, {origin}}}
  mqtt: {{monitor: pg, origins: [{{name: m-1, {origin}}}, {{name: m-2, {origin}}}]}}
load_balancers:
  postgres: {{default_pools: [postgres]}}
  mqtt: {{default_pools: [mqtt]}}
access_rules: {{scanners: {{action: block, target: ip_range, value: 203.0.113.0/27}}}}
apps:
  postgres: {{protocol: tcp/{PORTS["postgres"]}, edge_ips: [127.0.0.1], load_balancer: postgres, ip_firewall: true}}
  mqtt: {{protocol: tcp/{PORTS["mqtt"]}, edge_ips: [127.0.0.1], load_balancer: mqtt}}
  ssh-bastion:
    {{protocol: tcp/{PORTS["ssh-bastion"]}, edge_ips: [127.0.0.1], origin_direct: ["tcp://127.0.0.1:{ORIGIN_PORT}"]}}
  game-eu: {{protocol: udp/27015, edge_ips: [127.0.0.1], origin_direct: ["udp://127.0.0.1:{ORIGIN_PORT}"]}}
"""


def _keep_week(folder: Path, day: Day) -> None:
    """Fill a store of analytics with sessions of a week; the outage is on its last day alone."""
    store = EmbeddedStore(folder)
    store.open()
    store.take(list(day.batches()), Cursor(0, 0, 0))
    store.take_packets(list(day.packets()))
    chance = f"(hash(sequence + twin * {_APART} + day) % {MOVED_S})"
    moved = {
        "sequence": f"sequence + (day * {COPIES} + twin) * {_APART}",
        "time": f"time - to_days(day::INT) - to_seconds({chance}::BIGINT)",
        "client_ip": "CASE WHEN twin = 0 THEN client_ip ELSE '198.18.' || twin || '.' || (hash(session) % 250) END",
        "client_prefix": "CASE WHEN twin = 0 THEN client_prefix ELSE '198.18.' || twin || '.0/24' END",
    }
    columns = ", ".join(f'{moved.get(one.name, one.name)} AS "{one.name}"' for one in EVENTS.columns)
    last = store._volumes.last
    with store._database.writing() as connection:
        connection.execute(
            f"CREATE TEMP TABLE week AS SELECT {columns} FROM {last}.events,"
            f" (SELECT range AS day FROM range({DAYS})), (SELECT range AS twin FROM range({COPIES}))"
            " WHERE day + twin > 0 AND (day = 0 OR outcome <> 'failed')"
        )
        connection.execute(
            f"INSERT INTO {last}.events BY NAME SELECT week.*, coalesce(clients.client, 0) AS client FROM week"
            f" LEFT JOIN {last}.clients ON week.client_ip = clients.client_ip ORDER BY time"
        )
    now = time.time()
    while (done := store.tidy(now)).more or done.rolled_up:
        now += 100.0
    store.close()


class Edge:
    """What the dashboard is of.

    Attributes:
        url: Of the dashboard.
        apps: How many the API's store has.
    """

    url = f"http://127.0.0.1:{API_PORT}"

    def __init__(self, folder: Path, apps: int) -> None:
        self._folder = folder
        self.apps = apps

    def ask(self, method: str, path: str, body: object = None) -> object:
        """Return the result of a request of root on this machine, who needs no token."""
        connection = UnixConnection(self._folder / "api.sock", 60.0)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, f"/client/v4{path}", json.dumps(body) if body is not None else None, headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert answer["success"], answer
        return answer["result"]

    def token(self, name: str) -> str:
        """Return a new token that may everything: what one may ask of analytics in five minutes is limited."""
        group = [{"id": file_id("permissions", "all:edit")}]
        everything = {"effect": "allow", "permission_groups": group, "resources": {"com.cloudflare.api.account.*": "*"}}
        made = self.ask("POST", "/user/tokens", {"name": name, "policies": [everything]})
        assert isinstance(made, dict)
        return str(made["value"])


@contextmanager
def edge(folder: Path, apps: int) -> Iterator[Edge]:
    """Run one with so many apps in the API's store, and sessions that are open."""
    folder.chmod(0o755)
    if apps:
        fill(folder / "store", apps)
    _keep_week(folder / "analytics", Day(time.time()))
    if os.geteuid() == 0:
        for path in (folder / "analytics", *(folder / "analytics").rglob("*")):
            shutil.chown(path, "nobody")
    path = folder / "spectrum.yaml"
    path.write_text(_text(folder))
    with ExitStack() as opened:
        echo = subprocess.Popen([sys.executable, "-c", ECHO])
        opened.callback(echo.wait, 10)
        opened.callback(echo.terminate)
        daemon = Running([sys.executable, "-m", "spectrum", "run", "-c", str(path)], _BOTH_CORES, folder / "log")
        opened.callback(daemon.stop)
        daemon.wait_for_port(API_PORT, 120.0)
        for number in range(OPEN_SESSIONS):
            port = list(PORTS.values())[number % len(PORTS)]
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            client.sendall(b"x" * 2000)
        time.sleep(5)  # two probes, and the roll-ups of the store
        yield Edge(folder, apps)
