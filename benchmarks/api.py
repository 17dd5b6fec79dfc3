"""What the control API costs with many apps in its store: a start, a change until it is live, several clients."""

import http.client
import json
import os
import pwd
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median

from benchmarks.changes import APPS_PER_ADDRESS, ECHO, ORIGIN_PORT, PORT, WORKERS, QuietClient, p99_us
from benchmarks.processes import PROXY_CORE, Running
from benchmarks.rounds import Figures, Rows, work_folder
from benchmarks.traffic import REQUESTS_PER_S, SESSIONS, live_traffic
from spectrum.cli.client import UnixConnection, ask
from spectrum.store.objects import ObjectChange, new_id
from spectrum.store.store import Store

SIZES = (1_000, 10_000)
CHANGES = 200
# Each has a load balancer, and a tenth of the apps lead to these.
POOLS, POOL_CHANGES = 100, 50
# Live traffic, for so many seconds without changes, and with one after each pause, in turns.
LIVE_S, LIVE_PAUSE_S, LIVE_ROUNDS = 3.0, 0.1, 5
CLIENTS = 8
CLIENTS_S = 5.0
ROWS: Rows = {
    "start_s": ("start until all is served", "s", True),
    "api_start_s": ("start until the API answers", "s", True),
    "quiet_p99_us": ("round trip of a quiet session, p99", "µs", True),
    "change_p50_ms": ("one app changed by API: answered, and live, after; p50", "ms", True),
    "change_p99_ms": ("the same, p99", "ms", True),
    "change_quiet_p99_us": ("the same: round trip meanwhile, p99", "µs", True),
    "pool_p50_ms": (f"one of {POOLS} pools changed by API, to which a tenth of the apps lead; p50", "ms", True),
    "pool_p99_ms": ("the same, p99", "ms", True),
    "pool_quiet_p99_us": ("the same: round trip meanwhile, p99", "µs", True),
    "live_p99_us": (f"live traffic ({REQUESTS_PER_S:,} requests/s of {SESSIONS} sessions), p99", "µs", True),
    "live_change_p99_us": (f"the same, with a change by API after each {LIVE_PAUSE_S * 1000:.0f} ms, p99", "µs", True),
    "live_times": ("the same: times the p99 without changes, just before", "", True),
    "live_change_ms": ("the same: one app changed, p99", "ms", True),
    "clients_per_s": (f"changes by {CLIENTS} clients", "/s", False),
    "clients_p99_ms": ("the same: one takes, p99", "ms", True),
    "list_ms": ("a page of 50 apps", "ms", True),
    "memory_mib": ("memory of the API's process", "MiB", True),
}


def stored_app(number: int, idle_s: int) -> dict[str, object]:
    """Return an app as the file has it."""
    address, port = divmod(number, APPS_PER_ADDRESS)
    leads_to: dict[str, object] = {"origin_direct": [f"tcp://127.0.0.1:{ORIGIN_PORT}"]}
    if number % 10 == 9:
        leads_to = {"load_balancer": f"lb{number // 10 % POOLS}"}
    return {
        "protocol": f"tcp/{PORT + port}",
        "edge_ips": [f"127.1.0.{address + 1}"],
        **leads_to,
        "timeouts": {"idle": idle_s},
        "dns": {"type": "ADDRESS", "name": f"app{number}.example.com"},
    }


def stored_pool(weight: float) -> dict[str, object]:
    """Return a pool as the file has it."""
    origin = {"name": "a", "address": "127.0.0.1", "port": ORIGIN_PORT}
    return {"origins": [origin, origin | {"name": "b", "weight": weight}]}


def fill(folder: Path, count: int) -> None:
    """Make a store with so many apps, some of which lead to load balancers."""
    store = Store(folder)
    store.open()
    apps = [ObjectChange("apps", new_id(), f"app{number}", stored_app(number, 600)) for number in range(count)]
    pools = [ObjectChange("pools", new_id(), f"pool{number}", stored_pool(1)) for number in range(POOLS)]
    balancers = [
        ObjectChange("load_balancers", new_id(), f"lb{number}", {"default_pools": [f"pool{number}"]})
        for number in range(POOLS)
    ]
    store.commit(pools + balancers + apps, [], time.time())
    store.close()
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)


class ApiUser:
    """Asks the API as the command line does, on one connection."""

    def __init__(self, folder: Path) -> None:
        self._connection: http.client.HTTPConnection = UnixConnection(folder / "api.sock", 60.0)

    def ask(self, method: str, path: str, body: object = None) -> None:
        """Ask, and take the answer."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, f"/client/v4{path}", json.dumps(body) if body else None, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content[:500]

    def change(self, number: int, idle_s: int) -> float:
        """Change an app; return after how many seconds that was answered."""
        return self._put("apps", f"app{number}", stored_app(number, idle_s))

    def change_pool(self, number: int, weight: float) -> float:
        """Change a pool; the rest as `change`."""
        return self._put("pools", f"pool{number}", stored_pool(weight))

    def _put(self, section: str, name: str, value: object) -> float:
        began = time.perf_counter()
        self.ask("POST", "/spectrum/import", {"objects": {section: {name: value}}})
        return time.perf_counter() - began


def measure_size(count: int) -> Figures:
    """Return the figures of a daemon with so many apps in its store."""
    with work_folder("api") as folder:
        folder.chmod(0o755)
        fill(folder / "store", count)
        path = folder / "spectrum.yaml"
        path.write_text(
            f"control: {{socket: {folder}/control.sock}}\nworkers: {WORKERS}\nlog: {{sessions: false}}\n"
            f"api: {{store: {folder}/store, user: nobody, listen: unix:{folder}/public.sock}}\n"
            "zones: {example.com: {}}\n"
        )
        echo = subprocess.Popen([sys.executable, "-c", ECHO])
        began = time.perf_counter()
        daemon = Running([sys.executable, "-m", "spectrum", "run", "-c", str(path)], PROXY_CORE, folder / "log")
        try:
            while "serving" not in (folder / "log").read_text():
                time.sleep(0.02)
            figures: Figures = {"start_s": time.perf_counter() - began}
            while not (pid := ask(folder / "control.sock", "GET", "/status")["api"]["pid"]):
                time.sleep(0.02)
            figures["api_start_s"] = time.perf_counter() - began
            return figures | _of_changes(folder, count) | {"memory_mib": _memory_mib(pid)}
        finally:
            daemon.stop()
            echo.terminate()
            echo.wait(10)


def _of_changes(folder: Path, count: int) -> Figures:
    quiet, user, chance = QuietClient(), ApiUser(folder), random.Random(1)
    time.sleep(2)
    figures: Figures = {"quiet_p99_us": p99_us(quiet.end())}
    quiet = QuietClient()
    took = sorted(user.change(chance.randrange(count), 1000 + number) for number in range(CHANGES))
    figures |= {"change_p50_ms": median(took) * 1e3, "change_p99_ms": took[len(took) * 99 // 100] * 1e3}
    figures["change_quiet_p99_us"] = p99_us(quiet.end())
    quiet = QuietClient()
    took = sorted(user.change_pool(chance.randrange(POOLS), round(chance.random(), 2)) for _ in range(POOL_CHANGES))
    figures |= {"pool_p50_ms": median(took) * 1e3, "pool_p99_ms": took[len(took) * 99 // 100] * 1e3}
    figures["pool_quiet_p99_us"] = p99_us(quiet.end())
    pages = []
    for _ in range(10):
        began = time.perf_counter()
        user.ask("GET", f"/zones/{_zone(folder)}/spectrum/apps?per_page=50")
        pages.append(time.perf_counter() - began)
    figures["list_ms"] = median(pages) * 1e3
    return figures | _of_live_traffic(folder, count) | _of_clients(folder, count)


def _of_live_traffic(folder: Path, count: int) -> Figures:
    """Return what traffic notices of changes, and how long they take beside it: medians of several rounds."""
    user, chance = ApiUser(folder), random.Random(2)
    addresses = [("127.1.0.1", PORT + number) for number in range(SESSIONS)]
    without, beside, took = [], [], []
    for _ in range(LIVE_ROUNDS):
        with live_traffic(addresses) as quiet:
            time.sleep(LIVE_S)
        with live_traffic(addresses) as busy:
            until = time.perf_counter() + LIVE_S
            while time.perf_counter() < until:
                took.append(user.change(chance.randrange(count), chance.randrange(2000, 9000)))
                time.sleep(LIVE_PAUSE_S)
        without.append(p99_us(quiet))
        beside.append(p99_us(busy))
    return {
        "live_p99_us": median(without),
        "live_change_p99_us": median(beside),
        "live_times": median(one / other for one, other in zip(beside, without, strict=True)),
        "live_change_ms": sorted(took)[len(took) * 99 // 100] * 1e3,
    }


def _zone(folder: Path) -> str:
    connection = UnixConnection(folder / "api.sock", 60.0)
    connection.request("GET", "/client/v4/zones")
    zones = json.loads(connection.getresponse().read())["result"]
    return str(zones[0]["id"])


def _of_clients(folder: Path, count: int) -> Figures:
    took: list[float] = []
    until = time.perf_counter() + CLIENTS_S

    def run(seed: int) -> None:
        user, chance = ApiUser(folder), random.Random(seed)
        while time.perf_counter() < until:
            took.append(user.change(chance.randrange(count), chance.randrange(2000, 9000)))

    began = time.perf_counter()
    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    per_s = len(took) / (time.perf_counter() - began)
    return {"clients_per_s": per_s, "clients_p99_ms": sorted(took)[len(took) * 99 // 100] * 1e3}


def _memory_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
