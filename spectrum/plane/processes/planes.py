"""The two planes of a worker, and what they share."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from spectrum.core.difference import Difference
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import ListenerKey, Snapshot
from spectrum.engine.census import Census, Rates
from spectrum.engine.lookout import KNOWN_SOURCES, Lookout
from spectrum.engine.loop import Loop
from spectrum.engine.offload import Offload
from spectrum.engine.shared import Affinities, Loads
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.sockets import descriptor_limit, open_descriptors
from spectrum.kernel.syn_filter import DATAGRAMS_PASSED_ONE_IN, BlockRule, Guard, datagram_blocks
from spectrum.link.messages import HealthUpdate, Memory, Offloading, Watching, WorkerRules
from spectrum.plane.access.firewall import ClientPlaces, Firewall
from spectrum.plane.balancing.balancers import Balancers
from spectrum.plane.icmp import IcmpAnswers
from spectrum.plane.limits import Limiter
from spectrum.plane.loop_yield import LoopYield
from spectrum.plane.tcp import TcpPlane
from spectrum.plane.tls import Tls
from spectrum.plane.udp import UdpPlane

log = logging.getLogger(__name__)

# Descriptors reserved for other uses than sessions: a memory file, files that a library opens for a moment.
RESERVED_DESCRIPTORS = 32
# Interval of ending sessions of origins that are taken out of service.
ORIGIN_DRAIN_TICK_S = 0.25
_WORKER_RULES = msgspec.msgpack.Decoder(WorkerRules)


class Planes:
    """Serves TCP and UDP.

    Args:
        memory: The worker's number, and the memory that it shares with the others.
        files: The descriptors of its memory files.
        inherited: The sockets of flows of the former worker, by index.
        emit: Takes the encoded events of ended sessions: see `Records`.
        met: Called when results at origins should be reported soon.

    Attributes:
        engine: The engine.
        breath: Lets it handle events during long work.
        tcp, udp: The planes.
        balancers: Choose origins.
        names: The addresses of names.
        tls: The TLS contexts.

    Raises:
        OSError: If the memory cannot be used.
    """

    def __init__(
        self,
        memory: Memory,
        files: Sequence[int],
        inherited: dict[int, int],
        emit: Callable[[int, bytes, bool], None],
        met: Callable[[], None],
    ) -> None:
        flows, *shared = files
        self._memory = memory
        self._inherited = inherited
        self._offloading = Offloading()
        self._offload: Offload | None = None
        self.engine = Loop()
        self.breath = LoopYield(self.engine.process)
        self.names: dict[str, tuple[str, ...]] = {}
        self.tls = Tls()
        self._places = places = ClientPlaces()
        self._firewall = firewall = Firewall(places)
        loads = Loads(shared[0], memory.workers, memory.worker)
        self.balancers = balancers = Balancers(loads, Affinities(shared[1], memory.max_affinities), met)
        rates = Rates(shared[3])
        limiter = partial(Limiter, _census(memory, shared[2]), rates)
        self._lookout = Lookout(rates)
        self._shown: tuple[int, int] | None = None
        breathe = self.breath.take
        self.tcp = TcpPlane(
            self.engine,
            emit,
            balancers,
            loads,
            limiter(),
            places,
            firewall,
            self.tls,
            breathe=breathe,
            lookout=self._lookout,
        )
        self.udp = UdpPlane(
            self.engine,
            emit,
            flows,
            memory.max_flows,
            IcmpAnswers().tell,
            balancers,
            loads,
            limiter(),
            places,
            firewall,
            breathe,
            memory.worker,
            self._lookout,
        )
        close_all(shared)  # They are mapped.

    def begin(self) -> None:
        """Begin to serve."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.engine.fileno(), self.engine.process)
        loop.call_later(ORIGIN_DRAIN_TICK_S, self._end_drained)

    @property
    def active(self) -> int:
        """The number of sessions and flows that are not over."""
        return self.tcp.relay.active + self.udp.engine.active

    def serve(self, snapshot: Snapshot, access: int, descriptors: Mapping[ListenerKey, int]) -> set[ListenerKey]:
        """Serve a snapshot, with the memory file of its access rules; return the listeners that it does not use."""
        self.engine.busy_poll_us = snapshot.busy_poll_us
        self.tcp.relay.max_held_bytes = snapshot.memory_bytes // self._memory.workers
        self._places.read(snapshot.geoip, snapshot.geoip_asn)
        self.balancers.country_of = self._places.country_of
        self._firewall.take(snapshot, access)
        stopped = self.balancers.apply(snapshot)
        planes = self.tcp, self.udp
        unused = {key for plane in planes for key in plane.apply(snapshot, descriptors, self.names, stopped)}
        for plane in planes:
            plane.hearing.look_at_all(self.breath.take)
        self.tcp.syn_filters.look()
        return unused

    def change(
        self, difference: Difference, rest: Snapshot, descriptors: Mapping[ListenerKey, int]
    ) -> set[ListenerKey]:
        """Serve a difference; return the listeners that are no longer used.

        Args:
            difference: New, changed and removed objects.
            rest: The rest of the snapshot, which is unchanged.
            descriptors: The descriptors of all listeners.
        """
        concerned, stopped = difference.transports(), self.balancers.change(difference)
        planes = [plane for transport, plane in (("tcp", self.tcp), ("udp", self.udp)) if transport in concerned]
        unused = {key for plane in planes for key in plane.change(difference, rest, descriptors, self.names, *stopped)}
        for plane in (self.tcp, self.udp):
            plane.hearing.look_at_deaf()
        self.tcp.syn_filters.look()
        return unused

    def recover(self) -> None:
        """Continue the flows of the former worker; the first snapshot is served, so they have listeners."""
        self.udp.engine.set_offload(self._offload)
        inherited, self._inherited = self._inherited, {}
        if count := self.udp.recover(inherited):
            log.warning("continuing %d UDP flows of the former worker", count)
        if self._offload is not None:
            self._offload.sweep()
        self.breath.is_held = False

    def share_descriptors(self, transports: set[str]) -> None:
        """Limit sessions and flows, so that a flood of one kind leaves descriptors for the other. If listeners used the
        reserve (`free` is below 0), sessions must end before new ones begin.
        """
        tcp, udp = self.tcp.relay, self.udp.engine
        free = descriptor_limit() - open_descriptors() - RESERVED_DESCRIPTORS
        for_udp = 0 if "udp" not in transports else free if transports == {"udp"} else free // 2
        tcp.max_sessions = max(1, tcp.active + (free - for_udp) // 2)
        udp.max_sockets = max(1, udp.sockets + for_udp)

    def resolve(self, addresses: Mapping[str, tuple[str, ...]]) -> None:
        """Take new addresses of names."""
        self.names.update(addresses)
        for plane in (self.tcp, self.udp):
            plane.resolve(self.names, addresses)

    def take_health(self, health: HealthUpdate) -> None:
        """Apply which origins may be used, and their latencies."""
        self.balancers.take_latencies(health.latencies)
        self.udp.leave_origins(self.balancers.take_standings(health.standings))
        self.tcp.preconnect()

    def take_offload(self, told: Offloading, tables: list[int], is_serving: bool) -> None:
        """Let the kernel forward UDP flows, or no longer; the same tables change nothing.

        Args:
            told: The message about the tables.
            tables: Their descriptors, owned from here on.
            is_serving: The flows of the former worker are known: they come first.
        """
        if told.places and not tables:  # They were lost at the descriptor limit.
            return
        if told != self._offloading:
            self._offloading = told
            worker, workers = self._memory.worker, self._memory.workers
            self._offload = (
                Offload(*tables, worker=worker, workers=workers, places=told.places) if told.places else None
            )
            if is_serving:
                self.udp.engine.set_offload(self._offload)
        close_all(tables)

    def take_watching(self, told: Watching, files: list[int]) -> None:
        """Sample packets for attack detection and apply its rules, or stop.

        Args:
            told: The message.
            files: The memory files that came with it, owned from here on.
        """
        try:
            if len(files) != 3:  # None, or they were lost at the descriptor limit.
                if not told.size:
                    self._lookout.watch(0, 0)
                    self._lookout.set_rules([])
                    self._drop_early((), ())
                return
            looks, known, rules = files
            found = os.fstat(looks)
            if (found.st_dev, found.st_ino) != self._shown:
                self._lookout.attach(looks, Affinities(known, KNOWN_SOURCES))
                self._shown = found.st_dev, found.st_ino
            wanted = _WORKER_RULES.decode(os.pread(rules, told.size, 0))
            self._lookout.set_rules([(one.slot, one.sets) for one in wanted.rules], wanted.guard)
            self._drop_early([BlockRule(one.slot, one.sets) for one in wanted.rules], wanted.guard)
            self._lookout.watch(told.idle_one_in, told.used_one_in)
            if wanted.rules:
                self.tcp.end_blocked()
        finally:
            close_all(files)

    def _drop_early(self, rules: Sequence[BlockRule], guard: Sequence[Guard]) -> None:
        """Have the kernel drop SYNs and datagrams as the lookout's rules say."""
        self.tcp.syn_filters.take(rules, guard)
        blocks = datagram_blocks(rules, guard, time.monotonic_ns())
        self.udp.engine.drop_blocked(blocks.four, blocks.six, blocks.expires_ns)
        self._lookout.thin_datagrams(blocks.rules, DATAGRAMS_PASSED_ONE_IN)

    def _end_drained(self) -> None:
        """End sessions of origins that were taken out of service as their drain requires."""
        # Re-armed first: the loop logs a failure below, which must not stop the ticks.
        asyncio.get_running_loop().call_later(ORIGIN_DRAIN_TICK_S, self._end_drained)
        now = time.monotonic()
        for plane in (self.tcp, self.udp):
            if plane.drains.pending:
                plane.drains.tick(now)

    def flush_records(self) -> None:
        """Pass on the sums of refusals."""
        for plane in (self.tcp, self.udp):
            plane.flush_records()

    def stop_accepting(self) -> None:
        """Accept what waits in the kernel's queues, then no new sessions and flows."""
        self.tcp.stop_accepting()
        self.udp.drain()

    def close_sessions(self) -> None:
        """End all sessions and flows."""
        self.udp.engine.close_flows(Reason.DRAINED)
        self.tcp.relay.close_sessions(Reason.DRAINED)


def _census(memory: Memory, file: int) -> Census:
    return Census(
        file,
        memory.workers,
        memory.worker,
        secret=memory.secret,
        ipv4_bits=memory.ipv4_bits,
        ipv6_bits=memory.ipv6_bits,
        ipv4_wide_bits=memory.ipv4_wide_bits,
        ipv6_wide_bits=memory.ipv6_wide_bits,
    )
