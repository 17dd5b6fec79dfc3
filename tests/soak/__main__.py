"""The soak: mixed load for minutes, while everything that may happen to a daemon happens all the time.

A reload every second, which puts apps that share a port in another order, too; killed workers, processes that stand
still, origins that come and go, names that are not answered and come back, upgrades. Every byte is checked by hash.
What a killed worker had is lost by nature; nothing else may be, and no client may be refused. Memory and descriptors
must stay flat.

    python -m tests.soak --minutes 10            # with --kernel UDP flows are moved by the kernel
    python -m tests.soak --upgrades 24 --keep X  # to hunt: upgrades all the time, messages and session records in X

As root it runs in namespaces of its own, with its own name server; without root there are no names, and no --kernel.
"""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean

import click

from spectrum.cli.client import DaemonError
from tests.e2e.daemon import Daemon
from tests.soak.load import Clients, EchoDatagrams, FlappingOrigin, NamedOrigin, NameServer, Tally

SESSION_CLIENTS, NAMED_CLIENTS, LASTING_FLOWS, NEW_FLOWS = 12, 3, 4, 2
RELOAD_EVERY_S, FLAP_EVERY_S, KILL_EVERY_S = 1.0, 7.0, 11.0
# A machine that is too busy, or a debugger: a process does nothing for so long, and what it is sent waits.
STALL_EVERY_S, STALL_S = 3.0, 0.8
FLAP_S = 2.0
# So long a name has no answer, or a bad one, and then is well again.
MOOD_EVERY_S = 4.0
# Names that nobody ever answers for, beside the one that must go on.
DEAD_NAMES = 5
SHARED = {"a.example": b"a", "b.example": b"b", "": b"-"}
# Of what the daemon said, so much is shown around a loss.
SAID_AROUND_S = 4.0
# From the moment when the replacement serves until clients' last losses are told.
KILL_WINDOW_S = 3.0
# A listener that is closed resets what is in its queue: connected, as far as the edge can know.
FLAP_WINDOW_S = 0.3
# Upgrades in the first part, so that the workers of the rest are the same ones and their memory tells something.
UPGRADES, UPGRADE_PART = 2, 0.25
# What a reload is answered that meets an upgrade.
PASSING = ("not serving yet", "stopping", "is being upgraded")
# A worker that stands still for good, from after the upgrades on, until the supervisor has replaced it.
FREEZE_EVERY_S, WORKER_TIMEOUT_S = 60.0, 8
# And what a reload is answered meanwhile.
FROZEN = "does not answer"
SAMPLE_EVERY_S = 2.0
# In the environment of a run that is in its own namespace.
INSIDE = "SPECTRUM_SOAK_INSIDE"
BEGIN = """
ip link set lo up
mount -t bpf bpf /sys/fs/bpf
names=$(mktemp) && echo "nameserver 127.0.0.1" > "$names" && mount --bind "$names" /etc/resolv.conf && rm "$names"
exec "$0" -m tests.soak "$@"
"""
# What Python's own arenas do is about a fifth of this.
MAX_SLOPE_KB_PER_MINUTE = 400.0
MAX_MORE_DESCRIPTORS = 20


class Soak:
    """One run.

    Args:
        folder: For the daemon's files.
        seconds: How long there is load.
        seed: Of all that is random.
        kernel: Let the kernel move UDP flows.
        names: There is a name server of ours, and this machine asks it.
        upgrades: So many; more than two go on for the whole run.
        records: The daemon writes session records, so that what was lost can be looked up.
    """

    def __init__(
        self,
        folder: Path,
        seconds: float,
        seed: int,
        kernel: bool = False,
        names: bool = False,
        upgrades: int = UPGRADES,
        records: bool = False,
    ) -> None:
        self._names, self._records = names, records
        self._upgrades = upgrades
        self._upgrade_every_s = seconds * (UPGRADE_PART if upgrades <= UPGRADES else 1) / max(upgrades, 1)
        self._offloaded = 0
        self._more = "udp_offload: {interfaces: [lo]}\n" if kernel else ""
        self._folder, self._seconds = folder, seconds
        self._random = random.Random(seed)
        self._tally = Tally()
        self._clients = Clients(self._tally, seed)
        self._kills: list[float] = []
        self._flaps: list[float] = []
        self._counts = {"reloads": 0, "kills": 0, "stalls": 0, "flaps": 0, "moods": 0, "freezes": 0, "upgrades": 0}
        self._frozen = False
        self._upgraded = asyncio.Event()
        self._samples: list[tuple[float, str, int, int]] = []
        self._ports = free_ports(11)
        self._upgrading: asyncio.Future[subprocess.CompletedProcess[str]] | None = None

    def _text(self) -> str:
        tcp, udp, other, one, two, datagrams, shared, a, b, rest, named = self._ports
        changing = self._random.randrange(5, 50)
        text = f"""
limits: {{sessions: {1000 + changing}}}
worker_timeout: {WORKER_TIMEOUT_S}s
monitors: {{m: {{type: tcp, interval: 0.5s, timeout: 400ms, retries: 3}}}}
pools:
  p:
    monitor: m
    origins: [{{name: a, address: 127.0.0.1, port: {one}}}, {{name: b, address: 127.0.0.1, port: {two}}}]
load_balancers: {{lb: {{default_pools: [p]}}}}
apps:
  sessions: {{protocol: tcp/{tcp}, edge_ips: [127.0.0.1], load_balancer: lb}}
  flows: {{protocol: udp/{udp}, edge_ips: [127.0.0.1], origin_direct: [udp://127.0.0.1:{datagrams}],
    timeouts: {{idle: 3s}}}}
"""
        if changing % 2:  # an app that comes, changes and goes
            where = f"edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{one}]"
            text += f"  other: {{protocol: tcp/{other}, {where}, timeouts: {{idle: {changing}s}}}}\n"
        text += self._sharing(shared, {"a.example": a, "b.example": b, "": rest})
        if self._names:
            for number in range(-1, DEAD_NAMES):
                name, edge = (
                    (f"dead{number}.soak.test", f"127.0.1.{number + 1}")
                    if number >= 0
                    else (NameServer.NAME, "127.0.0.1")
                )
                where = f"protocol: tcp/{named}, edge_ips: [{edge}], origin_port: {a}"
                text += f"  named{number + 1}: {{{where}, origin_dns: {{name: {name}, type: A, ttl: 1s}}}}\n"
        return f"{text}{self._more}log: {{sessions: {str(self._records).lower()}}}"

    def _sharing(self, port: int, origins: dict[str, int]) -> str:
        """Return the apps of a shared port in any order, now and then with one more, which nobody asks for."""
        apps = [
            f"  n{origin}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]"
            f"{f', sni: [{name}]' if name else ''}}}\n"
            for name, origin in origins.items()
        ]
        if self._random.random() < 0.5:
            apps.append(apps[0].replace("  n", "  more").replace("a.example", "c.example"))
        self._random.shuffle(apps)
        return "".join(apps)

    async def run(self) -> list[str]:
        """Run; return what was wrong."""
        tcp, udp, _, one, two, datagrams, shared, a, b, rest, named = self._ports
        origins = [FlappingOrigin(one), FlappingOrigin(two)]
        steady = [NamedOrigin(name, port) for name, port in zip(SHARED.values(), (a, b, rest), strict=True)]
        for origin in (*origins, *steady):
            await origin.open()
        loop = asyncio.get_running_loop()
        server = NameServer()
        if self._names:
            await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 53))
        echo, _ = await loop.create_datagram_endpoint(EchoDatagrams, local_addr=("127.0.0.1", datagrams))
        self._daemon = Daemon(self._folder, self._text(), workers=2)
        await asyncio.to_thread(self._daemon.__enter__)
        clients = [self._clients.sessions(tcp) for _ in range(SESSION_CLIENTS)]
        clients += [self._clients.named_sessions(shared, SHARED) for _ in range(NAMED_CLIENTS)]
        if self._names:
            clients.append(self._clients.named_sessions(named, {"": b"a"}))
        clients += [self._clients.flow(udp, True) for _ in range(LASTING_FLOWS)]
        clients += [self._clients.flow(udp, False) for _ in range(NEW_FLOWS)]
        self._began = time.monotonic()
        try:
            async with asyncio.TaskGroup() as tasks:
                for client in clients:
                    tasks.create_task(client)
                chaos = [
                    tasks.create_task(work)
                    for work in (
                        self._reload(),
                        self._kill(),
                        self._stall(),
                        self._freeze(),
                        self._flap(origins),
                        self._change_mood(server),
                        self._upgrade(),
                        self._sample(),
                    )
                ]
                await asyncio.sleep(self._seconds)
                await self._upgraded.wait()
                for task in chaos:
                    task.cancel()
                self._clients.stopped = True
        finally:
            for origin in (*origins, *steady):
                origin.close()
            echo.close()
            if self._upgrading is not None:  # it would leave a daemon behind
                await asyncio.wait([self._upgrading])
            await asyncio.to_thread(self._stop)
        return self._verdict()

    async def _status(self) -> dict:
        while True:
            try:
                return await asyncio.to_thread(self._daemon.status)
            except DaemonError:  # between two processes of an upgrade
                await asyncio.sleep(0.05)

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_EVERY_S)
            self._daemon.write(self._text())
            try:
                errors = await asyncio.to_thread(self._daemon.reload)
            except DaemonError:
                continue
            passing = (*PASSING, FROZEN) if self._frozen else PASSING
            if errors and not any(one in errors[0] for one in passing):
                raise AssertionError("\n".join([*errors, *self._daemon.messages().splitlines()[-60:]]))
            self._counts["reloads"] += not errors

    async def _kill(self) -> None:
        pause_s = min(KILL_EVERY_S, self._seconds / 2)  # one at least
        while True:
            await asyncio.sleep(pause_s)
            # Amid an upgrade none serves yet.
            pause_s = KILL_EVERY_S if await self._kill_one() else 0.2

    async def _kill_one(self) -> bool:
        for worker in [] if self._frozen else (await self._status())["workers"]:
            if worker["number"] == 1 and worker["ready"]:  # the other one's memory is looked at
                os.kill(worker["pid"], signal.SIGKILL)
                self._counts["kills"] += 1
                await self._until_replaced(worker["pid"])
                return True
        return False

    async def _until_replaced(self, pid: int) -> None:
        """Note the time that a place is without a worker: amid an upgrade the successor brings the next one."""
        while True:
            self._kills.append(time.monotonic())
            workers = (await self._status())["workers"]
            if any(worker["number"] == 1 and worker["ready"] and worker["pid"] != pid for worker in workers):
                return
            await asyncio.sleep(0.1)

    async def _stall(self) -> None:
        while True:
            await asyncio.sleep(STALL_EVERY_S)
            status = await self._status()
            if self._frozen:
                continue
            pid = self._random.choice([status["pid"], *(worker["pid"] for worker in status["workers"])])
            try:
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(STALL_S)
            except ProcessLookupError:
                continue
            finally:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            self._counts["stalls"] += 1

    async def _freeze(self) -> None:
        await self._upgraded.wait()  # one that meets a worker that stands still waits for it
        while True:
            await asyncio.sleep(min(FREEZE_EVERY_S, self._seconds / 4))
            pid = next((w["pid"] for w in (await self._status())["workers"] if w["number"] == 1 and w["ready"]), 0)
            if not pid:
                continue
            self._frozen = True
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            while Path(f"/proc/{pid}").exists():
                self._kills.append(time.monotonic())
                await asyncio.sleep(1)
            self._kills.append(time.monotonic())
            await asyncio.sleep(KILL_WINDOW_S)
            self._frozen = False
            self._counts["freezes"] += 1

    async def _flap(self, origins: list[FlappingOrigin]) -> None:
        while True:
            await asyncio.sleep(FLAP_EVERY_S)
            origin = self._random.choice(origins)
            self._flaps.append(time.monotonic())
            origin.close()
            await asyncio.sleep(FLAP_S)
            await origin.open()
            self._counts["flaps"] += 1

    async def _change_mood(self, server: NameServer) -> None:
        while self._names:
            await asyncio.sleep(MOOD_EVERY_S)
            server.mood = self._random.choice(("silent", "nxdomain", "servfail"))
            await asyncio.sleep(MOOD_EVERY_S)
            server.mood = "answer"
            self._counts["moods"] += 1

    async def _upgrade(self) -> None:
        for _ in range(self._upgrades):
            await asyncio.sleep(self._upgrade_every_s)
            command = [sys.executable, "-m", "spectrum", "upgrade", "--socket", str(self._daemon.socket)]
            run = partial(subprocess.run, command, capture_output=True, text=True, check=False)
            self._upgrading = asyncio.get_running_loop().run_in_executor(None, run)
            done = await asyncio.shield(self._upgrading)
            assert done.returncode == 0, done.stderr
            self._counts["upgrades"] += 1
        self._upgraded.set()

    async def _sample(self) -> None:
        await self._upgraded.wait()
        await asyncio.sleep(self._seconds / 10)
        while True:
            status = await self._status()
            self._offloaded += sum(worker["offloaded"] for worker in status["workers"])
            # Flows come and go by dozens; each has a descriptor, so those beside them are what must not grow.
            looked_at = {"supervisor": (status["pid"], 0)}
            looked_at |= {f"worker {w['number']}": (w["pid"], w["sessions"]) for w in status["workers"] if w["ready"]}
            for name, (pid, sessions) in looked_at.items():
                # It may have been killed while another one held the status up.
                with suppress(FileNotFoundError, ProcessLookupError):
                    descriptors = len(os.listdir(f"/proc/{pid}/fd")) - sessions
                    self._samples.append((time.monotonic(), name, memory_kb(pid), descriptors))
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _stop(self) -> None:
        pid = self._daemon.status()["pid"]
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 40
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        self._daemon.process.wait(1)
        self._messages = self._daemon.messages()

    def _verdict(self) -> list[str]:
        wrong = []
        within = self._within
        by_kill = [lost for lost in self._tally.lost if within(lost, self._kills, KILL_WINDOW_S)]
        left = [lost for lost in self._tally.lost if lost not in by_kill]
        by_origin = [lost for lost in left if "Reset" in lost[3] and within(lost, self._flaps, FLAP_WINDOW_S)]
        others = [lost for lost in left if lost not in by_origin]
        print(", ".join(f"{count} {kind}s" for kind, count in self._tally.done.items()), "came back whole:", end=" ")
        print(f"{self._tally.bytes_checked / 1e6:.0f} MB by hash, in {self._seconds:.0f} s")
        print(", ".join(f"{count} {what}" for what, count in self._counts.items()))
        print(
            f"lost with a killed or frozen worker: {len(by_kill)}; reset by an origin that closed its queue: "
            f"{len(by_origin)}; otherwise: {len(others)}"
        )
        for began, ended, kind, why in others:
            wrong.append(f"lost {why} ({kind}, {began - self._began:.1f} to {ended - self._began:.1f} s)")
        told = -SAID_AROUND_S
        for _, ended, *_ in others:  # those of one moment have one cause
            wrong += self._said_around(ended) if ended - told >= SAID_AROUND_S else []
            told = ended
        wrong += [f"refused: {why}" for *_, kind, why in by_kill if kind == "session" and "refused" in why.lower()]
        if "Traceback" in self._messages:
            wrong.append(f"the daemon had a fault:\n{self._messages}")
        if self._more and not self._offloaded:
            wrong.append("the kernel moved no flow")
        for name in ("supervisor", "worker 0"):
            wrong += self._flatness(name)
        return wrong

    def _said_around(self, at: float) -> list[str]:
        """Return what the daemon said within some seconds of a time (monotonic)."""
        wall = time.time() - time.monotonic() + at
        found = [f"{at - self._began:.1f} s is {datetime.fromtimestamp(wall, UTC):%H:%M:%S.%f}; kills meanwhile:"]
        found[0] += "".join(f" {kill - at:+.1f}" for kill in self._kills if abs(kill - at) < SAID_AROUND_S)
        for line in self._messages.splitlines():
            with suppress(ValueError, KeyError):  # what a process prints that is no message
                if abs(datetime.fromisoformat(json.loads(line)["Timestamp"]).timestamp() - wall) < SAID_AROUND_S:
                    found.append(line)
        return found

    @staticmethod
    def _within(lost: tuple[float, float, str, str], times: list[float], window_s: float) -> bool:
        began, ended, *_ = lost
        return any(began <= at + window_s and ended >= at for at in times)

    def _flatness(self, name: str) -> list[str]:
        found = [(at, memory, descriptors) for at, who, memory, descriptors in self._samples if who == name]
        if len(found) < 5:
            return []
        minutes = [(at - found[0][0]) / 60 for at, *_ in found]
        slope = slope_of(minutes, [memory for _, memory, _ in found])
        half = len(found) // 2
        more = round(fmean(d for *_, d in found[half:]) - fmean(d for *_, d in found[:half]))
        print(f"{name}: {found[-1][1] / 1024:.1f} MiB, {slope:+.0f} KiB per minute; {more:+d} descriptors")
        wrong = [f"{name} has {more} more descriptors"] if more > MAX_MORE_DESCRIPTORS else []
        # Shorter runs show what is loaded late, not what leaks.
        if minutes[-1] >= 4 and slope > MAX_SLOPE_KB_PER_MINUTE:
            wrong.append(f"{name} grows by {slope:.0f} KiB per minute")
        return wrong


def slope_of(xs: list[float], ys: list[int]) -> float:
    """Return the slope of the line of least squares."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)


def memory_kb(pid: int) -> int:
    """Return what a process has written to and shares with nobody (proc(5), smaps_rollup: Private_Dirty).

    Pages of files are not its own: they become private when the last other process with the same libraries ends.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


def free_ports(count: int) -> list[int]:
    """Return ports below those that the kernel gives to clients, so that nobody takes them in between."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
            try:
                one.bind(("127.0.0.1", port))
                two.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


@click.command()
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option("--seed", type=int, default=None, help="Of an earlier run.")
@click.option("--kernel", is_flag=True, help="Let the kernel move UDP flows; takes root.")
@click.option("--upgrades", default=UPGRADES, show_default=True, help="So many; more than two: over the whole run.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the daemon's messages and session records there.")
def main(minutes: float, seed: int | None, kernel: bool, upgrades: int, keep: Path | None) -> None:
    """Run the soak; the exit code is 1 where anything was lost or grew."""
    if os.geteuid() == 0 and INSIDE not in os.environ:
        os.environ[INSIDE] = "yes"
        os.execvp("unshare", ["unshare", "--net", "--mount", "sh", "-c", BEGIN, sys.executable, *sys.argv[1:]])
    seed = seed if seed is not None else random.randrange(2**32)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) if keep is None else keep
        where.mkdir(parents=True, exist_ok=True)
        names, records = INSIDE in os.environ, keep is not None
        wrong = asyncio.run(Soak(where, minutes * 60, seed, kernel, names, upgrades, records).run())
    for line in wrong[:200]:
        print(line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
