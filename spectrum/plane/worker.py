"""A worker process: the composition root of the data path.

It is started by the supervisor with one end of a channel, gets its snapshot and listening sockets through it, and
serves. When the supervisor vanishes it goes on and waits for a new one, which takes it over: see decision 006.
"""

import asyncio
import logging
import math
import os
import signal
import socket
import sys
import time
from collections import ChainMap
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import uvloop

from spectrum.core.difference import ServedApps
from spectrum.core.records.measures import AppMeasures, WorkerMeasures, add_measures
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import AppSettings, ListenerKey, Snapshot
from spectrum.engine.census import Census, Rates
from spectrum.engine.loop import Loop
from spectrum.engine.offload import Offload
from spectrum.engine.relay import Relay
from spectrum.engine.shared import Affinities, Loads
from spectrum.garbage import collect_every, freezing
from spectrum.kernel import installation, signals
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.installation import PackageChanged
from spectrum.kernel.seccomp import forbid
from spectrum.kernel.sockets import descriptor_limit, open_descriptors
from spectrum.link.channel import MAX_DESCRIPTORS, MAX_WAITING_BYTES, Channel
from spectrum.link.flow_sockets import receive_sockets, send_sockets
from spectrum.link.messages import (
    DECODER,
    Applied,
    Ask,
    Configure,
    HealthUpdate,
    Inherit,
    Memory,
    Message,
    Met,
    Offloading,
    Refused,
    ShortQueues,
    Started,
    TicketKeysUpdate,
)
from spectrum.link.snapshots import decode_difference, decode_snapshot
from spectrum.link.takeover import Drain, Events, Kept, Measures, Names, Release, Released, Sockets, Take, Veteran
from spectrum.link.waiting import Waiting
from spectrum.plane.access.firewall import Firewall, Places
from spectrum.plane.balancing.balancers import Balancers
from spectrum.plane.balancing.drains import SPREAD_S
from spectrum.plane.breathing import Breath
from spectrum.plane.icmp import IcmpAnswers
from spectrum.plane.limits import Limiter
from spectrum.plane.log import configure_worker_logging, log_spare_signals
from spectrum.plane.outbox import EVENT_BYTES, Outbox
from spectrum.plane.tcp import TcpPlane
from spectrum.plane.tls import Tls
from spectrum.plane.udp import UdpPlane
from spectrum.tasks import Tasks

log = logging.getLogger(__name__)

# Descriptors that are not sessions': a memory file, what a library opens for a moment.
RESERVED_DESCRIPTORS = 32
REPORT_INTERVAL_S = 1.0
EVENT_DELAY_S = 0.1
# So much is sent at once, in a few messages, which fit the socket's buffer: what costs most is to wake the supervisor.
COLLECTED_BYTES = 6 * EVENT_BYTES
# Measures of so many apps fit a packet, whatever their histograms hold.
APPS_PER_PACKET = 64
SIGNS_PER_PACKET = 1000
# After a failed connect the supervisor hears of it so soon, with what else happened meanwhile.
SIGNS_DELAY_S = 0.05
# Sessions of origins that are taken out of service end in steps of this.
DRAIN_TICK_S = 0.25
# While draining, a flow that is quiet this long is over.
DRAIN_IDLE_MS = 2000
# So long a worker waits for a new supervisor; then its sessions get this.
ORPHAN_WAIT_S = 300.0
ORPHAN_DRAIN_S = 30.0
RELEASED_TICK_S = 0.25
# So long a worker that has ended its sessions waits for its supervisor to take their records.
LAST_WORDS_S = 10.0
LAST_WORDS_TICK_S = 0.05
# In the environment of a worker: whether it forbids itself system calls.
SECCOMP_VARIABLE = "SPECTRUM_SECCOMP"


class SnapshotError(Exception):
    """A snapshot cannot be served; the message says why."""


class Worker:
    """Serves what the supervisor says over the channel.

    Args:
        sock: This end of the channel.
        control: The path of the supervisor's control socket; a new supervisor with the same one finds this worker.

    Raises:
        OSError: If this worker has nothing on which it could wait for a new supervisor.
    """

    def __init__(self, sock: socket.socket, control: Path | None = None) -> None:
        self._waiting = Waiting(control, self._taken) if control else None
        self._wait_timer: asyncio.TimerHandle | None = None
        self._waits_until = 0.0
        self._number = 0
        self._inherited: dict[int, int] = {}
        # What the supervisor sends while the sockets of flows come.
        self._held: list[tuple[Message, list[int]]] | None = None
        self._tasks = Tasks()
        self._orphan = self._released = False
        self._loop = asyncio.get_running_loop()
        self._engine = Loop()
        self._breath = Breath(self._engine.process)
        self._loads: Loads
        self._census: Census
        self._rates: Rates
        self._workers = 1
        self._flow_file = -1
        self._planes: tuple[TcpPlane, UdpPlane] | None = None
        self._balancers: Balancers
        self._places = Places()
        self._firewall = Firewall(self._places)
        self._tls = Tls()
        self._offload: Offload | None = None
        self._offloading = Offloading()
        self._signs_timer: asyncio.TimerHandle | None = None
        self._too_big = IcmpAnswers()
        self._channel = Channel(sock, DECODER, self._received, self._orphaned)
        self._stopped = asyncio.Event()
        # Of the listeners that are served, and of those that come with the next snapshot.
        self._descriptors: dict[ListenerKey, int] = {}
        self._fresh: dict[ListenerKey, int] = {}
        self._fresh_lost = 0
        self._unusable = ""
        # What is served: the snapshot, and the memory file of its access rules.
        self._served: tuple[ServedApps, int] | None = None
        self._names: dict[str, tuple[str, ...]] = {}
        self._outbox = Outbox(f"{time.time_ns() // 1000:x}")
        self._event_timer: asyncio.TimerHandle | None = None
        self._stalls_reported = self._busy_ns_reported = 0
        self._draining = False
        self._drain_deadline = math.inf

    async def run(self) -> None:
        """Serve until drained."""
        self._loop.add_reader(self._engine.fileno(), self._engine.process)
        self._loop.call_later(REPORT_INTERVAL_S, self._report_regularly)
        self._loop.add_signal_handler(signal.SIGTERM, self._told_to_end)
        log_spare_signals(self._loop)
        signals.release({signal.SIGTERM})
        self._channel.send(Started())
        await self._stopped.wait()
        for plane in self._planes or ():
            plane.flush_records()
        self._flush_events()
        self._report(0)
        await self._tell_the_rest()
        self._wait_no_longer()
        self._channel.close()

    # --- from the supervisor --------------------------------------------------------------------------------------

    def _received(self, message: Message, descriptors: list[int]) -> None:
        if self._held is not None:
            self._held.append((message, descriptors))
            return
        match message:
            case Memory():
                self._begin(message, descriptors)
            case Sockets(keys):
                self._take_sockets(keys, descriptors)
            case Configure():
                with freezing():
                    self._breath.begin()
                    self._configure(message, descriptors)
            case TicketKeysUpdate(keys):
                self._tls.tickets.set_keys(keys)
            case Offloading():
                self._take_offload(message, descriptors)
            case Names(addresses):
                self._names.update(addresses)
                for plane in self._planes or ():
                    plane.resolve(self._names, addresses)
            case HealthUpdate():
                self._take_health(message)
            case Ask(number):
                self._flush_events()
                self._report(number)
            case Drain(timeout_s):
                self._drain(timeout_s)
            case Kept(end):
                self._outbox.kept(end)
            case Inherit() if not descriptors:
                pass  # lost, at the limit of descriptors: the flows of the worker before end
            case Inherit():
                self._held = []
                self._tasks.start(self._inherit(descriptors[0]), "receive the sockets of flows")
            case Take():
                self._introduce()
            case Release(timeout_s):
                self._tasks.start(self._release(timeout_s, *descriptors), "leave listeners and flows")
            case _:
                raise AssertionError(f"not a message for a worker: {message}")

    async def _inherit(self, descriptor: int) -> None:
        """Receive the sockets of flows, and then what came meanwhile."""
        with socket.socket(fileno=descriptor) as way:
            self._inherited = await receive_sockets(way)
        held, self._held = self._held or [], None
        for message, descriptors in held:
            self._received(message, descriptors)

    def _begin(self, memory: Memory, descriptors: list[int]) -> None:
        """Take what is shared with other workers; where that fails, all snapshots are refused."""
        try:
            self._share_memory(memory, *descriptors)
        except Exception as exc:
            log.exception("the memory that workers share cannot be used")
            self._unusable = f"the memory that workers share cannot be used: {type(exc).__name__}: {exc}"

    def _take_sockets(self, keys: list[ListenerKey], descriptors: list[int]) -> None:
        """Keep listening sockets for the next snapshot."""
        if len(keys) != len(descriptors):
            close_all(descriptors)
            self._fresh_lost += len(keys)
            return
        close_all(self._fresh.pop(key) for key in keys if key in self._fresh)  # of a snapshot that never came
        self._fresh.update(zip(keys, descriptors, strict=True))

    def _configure(self, told: Configure, files: list[int]) -> None:
        """Serve a snapshot, or what differs; where that cannot be, say so and go on with the one before."""
        fresh, lost, generation = self._fresh, self._fresh_lost, told.generation
        self._fresh, self._fresh_lost = {}, 0
        try:
            if self._unusable:
                raise SnapshotError(self._unusable)
            if self._draining or self._released:
                raise SnapshotError("it is draining")
            if lost or len(files) != (1 if told.before else 2):
                raise SnapshotError(f"out of descriptors: {open_descriptors()} of {descriptor_limit()} are open")
            serve = self._serve_difference if told.before else self._serve_snapshot
            served, access, unused = serve(told, files, fresh)
        except Exception as exc:  # whatever it is, the supervisor waits for an answer
            close_all(files)  # to go on takes a descriptor, which may be the last one
            serves = self._go_on(generation, exc)
            close_all(fresh.values())  # before the answer: who tries again opens the same ports
            self._channel.send(Refused(generation, _reason(exc), serves))
            return
        close_all(self._descriptors[key] for key in fresh if key in self._descriptors)  # given anew
        self._descriptors.update(fresh)
        close_all(self._descriptors.pop(key) for key in unused)
        close_all([files[0]] if self._served is None or self._served[1] == access else [files[0], self._served[1]])
        self._served = served, access
        self._share_descriptors(served.transports())
        self._channel.send(Applied(generation))

    def _serve_snapshot(
        self, told: Configure, files: list[int], fresh: Mapping[ListenerKey, int]
    ) -> tuple[ServedApps, int, set[ListenerKey]]:
        """Serve a snapshot; return it, the file of its access rules, and the listeners that it has no use for."""
        snapshot = decode_snapshot(_content(files[0]), self._breath.take)
        unused = self._serve(snapshot, files[1], ChainMap(dict(fresh), self._descriptors))
        return ServedApps(snapshot), files[1], unused | (fresh.keys() - self._keys_of(snapshot.apps, fresh))

    def _serve_difference(
        self, told: Configure, files: list[int], fresh: Mapping[ListenerKey, int]
    ) -> tuple[ServedApps, int, set[ListenerKey]]:
        """Serve what differs; the rest as `_serve_snapshot`."""
        serves = self._served[0].generation if self._served is not None else 0
        if self._served is None or self._planes is None or serves != told.before:
            raise SnapshotError(f"it was told what differs from generation {told.before}, and serves {serves}")
        (served, access), difference = self._served, decode_difference(_content(files[0]))
        descriptors = ChainMap(dict(fresh), self._descriptors)
        unused: set[ListenerKey] = fresh.keys() - self._keys_of(difference.apps, fresh)
        for plane in self._planes:
            unused.update(plane.change(difference, served.rest, descriptors, self._names))
        for plane in self._planes:
            plane.hearing.look_at_deaf()
        served.take(difference)
        return served, access, unused

    def _keys_of(self, apps: Iterable[AppSettings], fresh: Mapping[ListenerKey, int]) -> set[ListenerKey]:
        """Return those of new listeners that apps have."""
        found: set[ListenerKey] = set()
        for app in apps if fresh else ():
            self._breath.take()
            found.update(key for key, _ in app.listeners() if key in fresh)
        return found

    def _go_on(self, generation: int, exc: Exception) -> int:
        """Serve the snapshot before one that failed again; return its generation, 0 where that fails too."""
        traceback = None if isinstance(exc, SnapshotError) else exc
        log.error("generation %d is not served: %s", generation, _reason(exc), exc_info=traceback)
        if self._served is None:
            return 0
        if isinstance(exc, SnapshotError):  # nothing was begun
            return self._served[0].generation
        try:
            self._serve(self._served[0].whole(), self._served[1], self._descriptors)
        except Exception:
            log.exception("nor can generation %d be any more", self._served[0].generation)
            return 0
        return self._served[0].generation

    def _serve(self, snapshot: Snapshot, access: int, descriptors: Mapping[ListenerKey, int]) -> set[ListenerKey]:
        """Go by a snapshot and the memory file of its access rules; return the listeners that it has no use for."""
        self._engine.busy_poll_us = snapshot.busy_poll_us
        self._outbox.has_journal = snapshot.has_journal
        started = self._planes is not None
        planes = self._planes or self._start(snapshot)
        planes[0].relay.max_held_bytes = snapshot.memory_bytes // self._workers
        self._places.read(snapshot.geoip, snapshot.geoip_asn)
        self._balancers.country_of = self._places.country_of
        self._firewall.take(snapshot, access)
        stopped = self._balancers.apply(snapshot)
        unused = {key for plane in planes for key in plane.apply(snapshot, descriptors, self._names, stopped)}
        for plane in planes:
            plane.hearing.look_at_all()
        self._planes = planes
        if not started:
            planes[1].engine.set_offload(self._offload)
            self._loop.call_later(DRAIN_TICK_S, self._end_drained)
            if count := planes[1].recover(self._inherited):
                log.warning("going on with %d UDP flows of the worker before this one", count)
            if self._offload is not None:
                self._offload.sweep()
        return unused

    def _take_offload(self, told: Offloading, tables: list[int]) -> None:
        """Let the kernel move what it can of UDP flows, or no longer; the same tables change nothing."""
        if told.places and not tables:  # they were lost, at the limit of descriptors
            return
        if told != self._offloading:
            self._offloading = told
            self._offload = (
                Offload(*tables, worker=self._number, workers=self._workers, places=told.places)
                if told.places
                else None
            )
            if self._planes is not None:
                self._planes[1].engine.set_offload(self._offload)
        for descriptor in tables:
            os.close(descriptor)

    def _start(self, snapshot: Snapshot) -> tuple[TcpPlane, UdpPlane]:
        loads, flows = self._loads, self._flow_file
        limiter = partial(Limiter, self._census, self._rates)
        tell = self._too_big.tell
        balancers, guard = self._balancers, (self._places, self._firewall)
        breathe = self._breath.take
        tcp = TcpPlane(self._engine, self._emit, balancers, loads, limiter(), *guard, self._tls, breathe=breathe)
        udp = UdpPlane(
            self._engine, self._emit, flows, snapshot.max_flows, tell, balancers, loads, limiter(), *guard, breathe
        )
        return tcp, udp

    def _share_memory(
        self, memory: Memory, flow_file: int, loads: int, affinities: int, census: int, rates: int
    ) -> None:
        self._flow_file = flow_file
        self._workers = memory.workers
        self._number = memory.worker
        self._outbox.number(memory.worker)
        self._loads = Loads(loads, memory.workers, memory.worker)
        remembered = Affinities(affinities, memory.max_affinities)
        self._balancers = Balancers(self._loads, remembered, self._report_signs_soon)
        self._census = Census(
            census,
            memory.workers,
            memory.worker,
            secret=memory.secret,
            ipv4_bits=memory.ipv4_bits,
            ipv6_bits=memory.ipv6_bits,
            ipv4_wide_bits=memory.ipv4_wide_bits,
            ipv6_wide_bits=memory.ipv6_wide_bits,
        )
        self._rates = Rates(rates)
        for descriptor in (loads, affinities, census, rates):
            os.close(descriptor)

    def _take_health(self, health: HealthUpdate) -> None:
        self._balancers.take_latencies(health.latencies)
        lost = self._balancers.take_standings(health.standings)
        if self._planes is not None:
            self._planes[1].leave_origins(lost)

    def _end_drained(self) -> None:
        """End what is due of sessions whose origins were taken out of service."""
        # First of all: a failure below is logged by the loop, and must not be the last tick.
        self._loop.call_later(DRAIN_TICK_S, self._end_drained)
        now = time.monotonic()
        for plane in self._planes or ():
            if plane.drains.pending:
                plane.drains.tick(now)

    def _share_descriptors(self, transports: set[str]) -> None:
        """Bound sessions and flows, so that a flood of the one kind leaves descriptors to the other.

        Where listeners took what was kept free (`free` is below 0), sessions must end before new ones begin.
        """
        assert self._planes is not None, "they are there since the first snapshot"
        tcp, udp = self._planes
        free = descriptor_limit() - open_descriptors() - RESERVED_DESCRIPTORS
        for_udp = 0 if "udp" not in transports else free if transports == {"udp"} else free // 2
        tcp.relay.max_sessions = max(1, tcp.relay.active + (free - for_udp) // 2)
        udp.engine.max_sockets = max(1, udp.engine.sockets + for_udp)

    def _active(self) -> int:
        return self._planes[0].relay.active + self._planes[1].engine.active if self._planes else 0

    def _drain(self, timeout_s: float) -> None:
        self._drain_deadline = min(self._drain_deadline, self._loop.time() + timeout_s)
        if self._draining:
            return
        self._draining = True
        if self._planes is None:
            self._stopped.set()
            return
        self._planes[0].stop_accepting()
        self._planes[1].drain()
        # Those of UDP carry the flows that go on.
        for key in [key for key in self._descriptors if key.transport == "tcp"]:
            os.close(self._descriptors.pop(key))
        self._wait_for_sessions()

    def _wait_for_sessions(self) -> None:
        assert self._planes is not None, "they are there since the first snapshot"
        tcp, udp = self._planes
        # A flow has no end of its own: one that pauses is over.
        is_due = self._loop.time() >= self._drain_deadline
        udp.engine.close_flows(Reason.DRAINED, 0 if is_due else DRAIN_IDLE_MS)
        if self._active() and not is_due:
            self._loop.call_later(0.05, self._wait_for_sessions)
            return
        tcp.relay.close_sessions(Reason.DRAINED)
        self._stopped.set()

    # --- without a supervisor -------------------------------------------------------------------------------------

    def _orphaned(self) -> None:
        """Go on serving, and wait for a new supervisor; without one sessions end some time later."""
        self._outbox.put_back(message for message in self._channel.undelivered() if isinstance(message, Events))
        if self._draining and not self._released:
            return
        self._orphan = True
        if self._planes is None or self._waiting is None:
            log.warning("the supervisor is gone: %d sessions are left, then this worker ends", self._active())
            self._drain(ORPHAN_DRAIN_S)
            return
        # One that came, and could not take this worker over, does not count.
        self._waits_until = self._waits_until or self._loop.time() + ORPHAN_WAIT_S
        left_s = max(0.0, self._waits_until - self._loop.time())
        log.warning("the supervisor is gone: serving on, waiting %.0f s for a new one", left_s)
        self._wait_timer = self._loop.call_at(self._waits_until, self._abandoned)
        self._waiting.begin()

    def _told_to_end(self) -> None:
        """SIGTERM, as a process group or a control group gets it: the supervisor says when to end, if there is one."""
        if self._stopped.is_set():
            return
        if not self._channel.closed:
            log.info("SIGTERM is left to the supervisor, which lets its workers drain; SIGKILL ends a worker at once")
            return
        log.warning("SIGTERM, and no supervisor: ending, with %d sessions", self._active())
        self._wait_no_longer()
        if self._planes is not None:
            tcp, udp = self._planes
            tcp.relay.close_sessions(Reason.DRAINED)
            udp.engine.close_flows(Reason.DRAINED)
        self._stopped.set()

    def _abandoned(self) -> None:
        log.warning("no supervisor came: no new sessions, %d left, then this worker ends", self._active())
        self._wait_no_longer()
        self._drain(ORPHAN_DRAIN_S)

    def _wait_no_longer(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None
        if self._wait_timer is not None:
            self._wait_timer.cancel()
            self._wait_timer = None

    def _taken(self, sock: socket.socket) -> None:
        if self._wait_timer is not None:
            self._wait_timer.cancel()
            self._wait_timer = None
        self._channel = Channel(sock, DECODER, self._received, self._orphaned)

    def _introduce(self) -> None:
        """Give a new supervisor what this worker serves with, and go on serving until it is released."""
        self._waits_until = 0.0
        items = list(self._descriptors.items())
        for i in range(0, len(items), MAX_DESCRIPTORS):
            part = dict(items[i : i + MAX_DESCRIPTORS])
            self._channel.send(Sockets(list(part)), list(part.values()))
        for packet in Names.packets(self._names):
            self._channel.send(packet)
        self._channel.send(Veteran(self._number, os.getpid()), [] if self._released else [self._flow_file])
        if self._released:
            self._count_anew()

    async def _release(self, timeout_s: float, way: int = -1) -> None:
        """Leave listeners and flows to the worker that follows; sessions go on here."""
        assert self._planes is not None, "an orphan has served"
        tcp, udp = self._planes
        self._released = True
        tcp.stop_accepting()
        if way >= 0:
            with socket.socket(fileno=way) as sock:
                await send_sockets(sock, udp.release())
        else:
            udp.engine.close_flows(Reason.DRAINED)
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
        self._channel.send(Released())
        self._count_anew()
        if timeout_s:
            tcp.end_by(timeout_s)
        self._finish(self._loop.time() + timeout_s + SPREAD_S if timeout_s else None)

    def _count_anew(self) -> None:
        """Tell a supervisor that begins to count which sessions there are."""
        assert self._planes is not None, "an orphan has served"
        tcp, udp = self._planes
        tcp.take_measures()
        udp.take_measures()
        self._orphan = False
        counts = list(tcp.open_sessions().items())
        for i in range(0, len(counts), APPS_PER_PACKET):
            part = {name: AppMeasures(started=count) for name, count in counts[i : i + APPS_PER_PACKET]}
            self._send_measures(tcp.relay, 0, False, part)
        self._flush_events()

    def _finish(self, deadline: float | None) -> None:
        """End with the last session, or at the deadline."""
        if self._stopped.is_set() or self._draining:
            return
        if not self._active() or (deadline is not None and self._loop.time() >= deadline):
            self._drain(0.0)
        else:
            self._loop.call_later(RELEASED_TICK_S, self._finish, deadline)

    # --- to the supervisor ----------------------------------------------------------------------------------------

    def _report_regularly(self) -> None:
        self._loop.call_later(REPORT_INTERVAL_S, self._report_regularly)
        for plane in self._planes or ():
            plane.hearing.look_on()
            plane.flush_records()
        self._report_short_queues()
        if not self._channel.waits:  # counts add up here while the supervisor does not read
            self._report(0)

    def _report_short_queues(self) -> None:
        if self._planes is None or self._orphan:
            return
        sockets = self._planes[1].engine.take_short_queues()
        for start in range(0, len(sockets), MAX_DESCRIPTORS):
            self._channel.send(ShortQueues(), sockets[start : start + MAX_DESCRIPTORS])

    def _report(self, number: int) -> None:
        if self._planes is None or self._orphan:
            return
        self._balancers.tick()
        tcp, udp = self._planes
        measures = tcp.take_measures()
        for name, taken in udp.take_measures().items():
            add_measures(measures, name, taken)
        apps = list(measures.items())
        chunks = [dict(apps[i : i + APPS_PER_PACKET]) for i in range(0, len(apps), APPS_PER_PACKET)] or [{}]
        for i, chunk in enumerate(chunks):
            self._send_measures(tcp.relay, number, i == len(chunks) - 1, chunk)
        self._report_signs()

    def _report_signs_soon(self) -> None:
        if self._signs_timer is None:
            self._signs_timer = self._loop.call_later(SIGNS_DELAY_S, self._report_signs)

    def _report_signs(self) -> None:
        if self._signs_timer is not None:
            self._signs_timer.cancel()
            self._signs_timer = None
        if self._channel.waits:
            return
        for plane in self._planes or ():
            plane.take_connects()
        signs = list(self._balancers.take_signs().items())
        for i in range(0, len(signs), SIGNS_PER_PACKET):
            self._channel.send(Met(dict(signs[i : i + SIGNS_PER_PACKET])))

    def _send_measures(self, relay: Relay, number: int, last: bool, apps: dict[str, AppMeasures]) -> None:
        assert self._planes is not None, "it counts"
        offloaded = self._planes[1].engine.offloaded
        own = WorkerMeasures(
            accept_stalls=relay.stalls - self._stalls_reported,
            busy_poll_s=(self._engine.busy_poll_ns - self._busy_ns_reported) / 1e9,
            events_dropped=self._outbox.take_dropped(),
            listeners_mended=sum(plane.hearing.take_mended() for plane in self._planes),
        )
        self._stalls_reported, self._busy_ns_reported = relay.stalls, self._engine.busy_poll_ns
        deaf = sum(plane.hearing.deaf for plane in self._planes)
        self._channel.send(
            Measures(number, last, apps, own, self._active(), relay.stalled, relay.held_bytes, offloaded, deaf)
        )

    def _emit(self, count: int, lines: bytes, has_sums: bool) -> None:
        self._outbox.add(count, lines, has_sums)
        if self._outbox.size >= COLLECTED_BYTES:
            self._send_events(EVENT_BYTES)
        if self._event_timer is None:
            self._event_timer = self._loop.call_later(EVENT_DELAY_S, self._flush_events)

    def _flush_events(self) -> None:
        if self._event_timer is not None:
            self._event_timer.cancel()
            self._event_timer = None
        self._send_events(1)

    def _send_events(self, least: int) -> None:
        """Send records while at least so many bytes of them wait."""
        if self._orphan and self._outbox.size < MAX_WAITING_BYTES:
            return
        while self._outbox.size >= least:
            message = self._outbox.take()
            sent = self._channel.send(message, droppable=True)
            if not sent and self._channel.gone and self._outbox.size < MAX_WAITING_BYTES:
                return  # the next supervisor gets them
            self._outbox.done(message, sent)

    async def _tell_the_rest(self) -> None:
        """Wait until a supervisor has taken what is left: this one, which is busy, or the one that follows it."""
        deadline = self._loop.time() + LAST_WORDS_S
        while self._outbox or self._channel.waits:
            if self._waiting is not None and self._waiting.begun:  # for as long as any orphan
                deadline = self._loop.time() + LAST_WORDS_S
            elif self._channel.closed or self._loop.time() >= deadline:
                return
            await asyncio.sleep(LAST_WORDS_TICK_S)


def _content(file: int) -> bytes:
    """Return what is in a memory file. All workers share it and its offset, hence pread."""
    return os.pread(file, os.fstat(file).st_size, 0)


def _reason(exc: Exception) -> str:
    return str(exc) if isinstance(exc, SnapshotError) else f"{type(exc).__name__}: {exc}"


def main() -> None:
    """Run a worker: the arguments are the channel's descriptor, the path of the control socket, and a descriptor.

    That one is for messages once it has started. Those before go to standard error, which the supervisor reads if it
    never does.
    """
    configure_worker_logging()
    # They reach the whole process group; only the supervisor acts on them.
    for number in signals.OF_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signals.prepare(hold={signal.SIGTERM})
    try:
        installation.verify()
    except PackageChanged as exc:
        log.error("this worker does not serve: %s", exc)
        sys.exit(1)
    # Records of sessions are short-lived tuples: the default of 700 would collect hundreds of times a second.
    collect_every(50_000)
    Path("/proc/self/comm").write_text("spectrum-worker", encoding="ascii")
    sock = socket.socket(fileno=int(sys.argv[1]))
    control = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if os.environ.get(SECCOMP_VARIABLE) == "True":
        forbid()

    async def serve() -> None:
        worker = Worker(sock, control)
        if len(sys.argv) > 3:
            os.dup2(int(sys.argv[3]), 2)
            os.close(int(sys.argv[3]))
        await worker.run()
        signals.hold_all()  # without a handler a late one would decide how this process ends

    uvloop.run(serve())


if __name__ == "__main__":
    main()
