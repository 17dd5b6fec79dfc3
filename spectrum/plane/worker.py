"""A worker process: the composition root of the data path.

It is started by the supervisor with one end of a channel, gets its snapshot and listening sockets through it, and
serves. When the supervisor vanishes it accepts nothing more and lets its sessions end.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from spectrum.core.measures import AppMeasures, WorkerMeasures
from spectrum.core.reasons import Reason
from spectrum.core.snapshot import ListenerKey, Snapshot
from spectrum.engine.loop import Loop
from spectrum.kernel.sockets import descriptor_limit, open_descriptors
from spectrum.plane.channel import (
    Applied,
    Ask,
    Channel,
    Configure,
    Drain,
    Events,
    Flows,
    Measures,
    Message,
    Names,
    Sockets,
)
from spectrum.plane.icmp import IcmpAnswers
from spectrum.plane.log import configure_worker_logging
from spectrum.plane.tcp import TcpPlane
from spectrum.plane.udp import UdpPlane

log = logging.getLogger(__name__)

# Descriptors that are not sessions': a memory file, what a library opens for a moment.
RESERVED_DESCRIPTORS = 32
REPORT_INTERVAL_S = 1.0
EVENT_DELAY_S = 0.1
EVENT_BYTES = 48 * 1024
# Measures of so many apps fit a packet, whatever their histograms hold.
APPS_PER_PACKET = 64
# While draining, a flow that is quiet this long is over.
DRAIN_IDLE_MS = 2000
# A supervisor that vanished leaves nobody to ask how long; the sessions get this.
ORPHAN_DRAIN_S = 30.0


class Worker:
    """Serves what the supervisor says over the channel."""

    def __init__(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine = Loop()
        self._tcp = TcpPlane(self._engine, self._emit)
        self._udp: UdpPlane | None = None
        self._flow_file = -1
        self._too_big = IcmpAnswers()
        self._channel = Channel(sock, self._received, self._orphaned)
        self._stopped = asyncio.Event()
        self._descriptors: dict[ListenerKey, int] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._event_lines: list[bytes] = []
        self._event_count = self._event_bytes = self._events_dropped = 0
        self._event_timer: asyncio.TimerHandle | None = None
        self._stalls_reported = self._busy_ns_reported = 0
        self._draining = False

    async def run(self) -> None:
        """Serve until drained."""
        self._loop.add_reader(self._engine.fileno(), self._engine.process)
        self._loop.call_later(REPORT_INTERVAL_S, self._report_regularly)
        await self._stopped.wait()
        self._flush_events()
        self._report(0)
        self._channel.close()

    # --- from the supervisor --------------------------------------------------------------------------------------

    def _received(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Flows():
                self._flow_file = descriptors[0]
            case Sockets(keys):
                self._descriptors.update(zip(keys, descriptors, strict=True))
            case Configure():
                self._configure(descriptors[0])
            case Names(addresses):
                self._names.update(addresses)
                self._tcp.resolve(self._names, addresses)
                if self._udp is not None:
                    self._udp.resolve(self._names, addresses)
            case Ask(number):
                self._flush_events()
                self._report(number)
            case Drain(timeout_s):
                self._drain(timeout_s)
            case _:
                raise AssertionError(f"not a message for a worker: {message}")

    def _configure(self, descriptor: int) -> None:
        # All workers share the file and its offset, hence pread.
        encoded = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        os.close(descriptor)
        snapshot = msgspec.msgpack.decode(encoded, type=Snapshot)
        self._engine.busy_poll_us = snapshot.busy_poll_us
        udp = self._udp or self._start_udp(snapshot)
        for plane in (self._tcp, udp):
            for key in plane.apply(snapshot, self._descriptors, self._names):
                os.close(self._descriptors.pop(key))
        if self._udp is None:
            self._udp = udp
            if count := udp.recover():
                log.warning("going on with %d UDP flows of the worker before this one", count)
        self._share_descriptors({app.transport for app in snapshot.apps})
        self._channel.send(Applied(snapshot.generation))
        # What a snapshot made lives long: later collections need not look at it.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def _start_udp(self, snapshot: Snapshot) -> UdpPlane:
        plane = UdpPlane(self._engine, self._emit, self._flow_file, snapshot.max_flows, self._too_big.tell)
        os.close(self._flow_file)
        return plane

    def _share_descriptors(self, transports: set[str]) -> None:
        """Bound sessions and flows, so that a flood of the one kind leaves descriptors to the other."""
        assert self._udp is not None, "it is there since the first snapshot"
        free = max(2, descriptor_limit() - open_descriptors() - RESERVED_DESCRIPTORS)
        for_udp = 0 if "udp" not in transports else free if transports == {"udp"} else free // 2
        self._tcp.relay.max_sessions = self._tcp.relay.active + max(1, (free - for_udp) // 2)
        self._udp.engine.max_sockets = self._udp.engine.sockets + max(1, for_udp)

    def _active(self) -> int:
        return self._tcp.relay.active + (self._udp.engine.active if self._udp else 0)

    def _drain(self, timeout_s: float) -> None:
        if self._draining:
            return
        self._draining = True
        self._tcp.stop_accepting()
        if self._udp is not None:
            self._udp.drain()
        # Those of UDP carry the flows that go on.
        for key in [key for key in self._descriptors if key.transport == "tcp"]:
            os.close(self._descriptors.pop(key))
        deadline = self._loop.time() + timeout_s
        self._wait_for_sessions(deadline)

    def _wait_for_sessions(self, deadline: float) -> None:
        if self._udp is not None:
            # A flow has no end of its own: one that pauses is over.
            self._udp.engine.close_flows(Reason.DRAINED, 0 if self._loop.time() >= deadline else DRAIN_IDLE_MS)
        if self._active() and self._loop.time() < deadline:
            self._loop.call_later(0.05, self._wait_for_sessions, deadline)
            return
        self._tcp.relay.close_sessions(Reason.DRAINED)
        self._stopped.set()

    def _orphaned(self) -> None:
        log.warning("the supervisor is gone: no new sessions, %d left, then this worker ends", self._active())
        self._drain(ORPHAN_DRAIN_S)

    # --- to the supervisor ----------------------------------------------------------------------------------------

    def _report_regularly(self) -> None:
        self._report(0)
        self._loop.call_later(REPORT_INTERVAL_S, self._report_regularly)

    def _report(self, number: int) -> None:
        measures = self._tcp.take_measures()
        for name, taken in self._udp.take_measures().items() if self._udp else ():
            if name in measures:  # a reload changed the app's transport
                measures[name].add(taken)
            else:
                measures[name] = taken
        apps = list(measures.items())
        chunks = [dict(apps[i : i + APPS_PER_PACKET]) for i in range(0, len(apps), APPS_PER_PACKET)] or [{}]
        for i, chunk in enumerate(chunks):
            self._send_measures(number, i == len(chunks) - 1, chunk)

    def _send_measures(self, number: int, last: bool, apps: dict[str, AppMeasures]) -> None:
        relay = self._tcp.relay
        own = WorkerMeasures(
            accept_stalls=relay.stalls - self._stalls_reported,
            busy_poll_s=(self._engine.busy_poll_ns - self._busy_ns_reported) / 1e9,
            events_dropped=self._events_dropped,
        )
        self._stalls_reported, self._busy_ns_reported = relay.stalls, self._engine.busy_poll_ns
        self._events_dropped = 0
        self._channel.send(Measures(number, last, apps, own, self._active(), relay.stalled))

    def _emit(self, count: int, lines: bytes) -> None:
        self._event_lines.append(lines)
        self._event_count += count
        self._event_bytes += len(lines)
        if self._event_bytes >= EVENT_BYTES:
            self._flush_events()
        elif self._event_timer is None:
            self._event_timer = self._loop.call_later(EVENT_DELAY_S, self._flush_events)

    def _flush_events(self) -> None:
        if self._event_timer is not None:
            self._event_timer.cancel()
            self._event_timer = None
        if not self._event_count:
            return
        if not self._channel.send(Events(self._event_count, b"".join(self._event_lines)), droppable=True):
            self._events_dropped += self._event_count
        self._event_lines.clear()
        self._event_count = self._event_bytes = 0


def main() -> None:
    """Run a worker on the channel descriptor that is the first argument."""
    configure_worker_logging()
    # A terminal's Ctrl-C and hang-up reach the whole process group; only the supervisor acts on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Records of sessions are short-lived tuples: the default of 700 would collect hundreds of times a second.
    gc.set_threshold(50_000, 20, 20)
    Path("/proc/self/comm").write_text("spectrum-worker", encoding="ascii")
    sock = socket.socket(fileno=int(sys.argv[1]))

    async def serve() -> None:
        await Worker(sock).run()

    uvloop.run(serve())


if __name__ == "__main__":
    main()
