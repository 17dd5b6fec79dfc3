"""The health of all origins: probes are evaluated, and verdicts go to workers, records, metrics and status."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from spectrum.core.balancing.checks import headers_used, probe_port, probed_transport
from spectrum.core.balancing.events import HealthEvent
from spectrum.core.balancing.groups import Vote, combine, probing
from spectrum.core.balancing.health import Health, ProbeResult
from spectrum.core.balancing.objects import GroupMember, LoadBalancer, Monitor, Pool
from spectrum.core.balancing.outliers import OriginOutcomes, OutlierDetector
from spectrum.core.balancing.overrides import Override
from spectrum.core.balancing.pools import PoolView, Standing, weight_of
from spectrum.core.balancing.settings import BalancerSettings, OriginSettings, PoolSettings
from spectrum.core.configuration.config import App, Config
from spectrum.core.names import name_key
from spectrum.core.snapshot import Snapshot
from spectrum.kernel.sockets import descriptor_limit
from spectrum.probes.prober import Prober
from spectrum.probes.target import ProbeTarget

# Changes that follow a change within this time are sent together: a start with thousands of origins takes a few
# messages.
TELL_GAP_S = 0.05
# A change of latency is sent when it exceeds this share.
LATENCY_STEP = 0.02
TICK_S = 1.0

NO_OVERRIDE = Override(0.0, -1)

Tell = Callable[[dict[int, Standing], dict[str, float]], None]
Addresses = Mapping[str, tuple[str, ...]]


class ProbeKey(NamedTuple):
    """What is probed once, whatever the number of pools that use it."""

    monitor: str
    address: str
    port: int
    host: str
    header: str


class Voter(NamedTuple):
    """A monitor that decides, alone or with others, on an address of an origin."""

    key: ProbeKey
    must_be_healthy: bool


class Poll(NamedTuple):
    """The monitors that decide on an address of an origin; with `of_group` reasons name the monitor, as there may be
    several.
    """

    voters: tuple[Voter, ...]
    of_group: bool


class MonitorFinding(NamedTuple):
    """The finding of a member of a monitor group about an origin.

    Attributes:
        member: What its verdict counts for.
        healthy: Its verdict, of the best address if there are several; None while unknown.
        reason: Why the origin is not healthy.
        rtt_s: Mean round trip of its probes in seconds; 0 without any.
    """

    member: GroupMember
    healthy: bool | None
    reason: str
    rtt_s: float


@dataclass(slots=True)
class Member:
    """An origin of a pool.

    Attributes:
        keys: The keys of the probes of its addresses, by all of its monitors.
        polls: The monitors that decide, for each address.
        healthy: The verdict; None while unknown, True without a monitor.
        reason: Why it is not healthy.
        changed_at: When the verdict changed (seconds since 1970); 0 if it never did.
        changes: How often it changed, not counting the first one.
        ejections: How often it was ejected.
    """

    pool: str
    settings: OriginSettings
    keys: tuple[ProbeKey, ...] = ()
    polls: tuple[Poll, ...] = ()
    healthy: bool | None = None
    reason: str = ""
    changed_at: float = 0.0
    changes: int = 0
    ejections: int = 0


@dataclass
class _World:
    """The parts of the configuration that health depends on."""

    monitors: dict[str, Monitor] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    # By pool.
    probing: dict[str, tuple[GroupMember, ...]] = field(default_factory=dict)
    apps: dict[str, App] = field(default_factory=dict)
    load_balancers: dict[str, LoadBalancer] = field(default_factory=dict)
    # The keys whose latencies are sent to workers, for a pool.
    headers: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    settings: dict[str, PoolSettings] = field(default_factory=dict)
    balancers: dict[str, BalancerSettings] = field(default_factory=dict)
    # The load balancers that choose among pools, this one included.
    users: dict[str, list[BalancerSettings]] = field(default_factory=dict)


class HealthKeeper:
    """Decides which origins can be used.

    Args:
        tell: Called with standings by number and latencies by pool when they change.
        record: Records an event.
        readdress: Called with the keys of names when the health of one of their addresses changes.
    """

    def __init__(
        self, tell: Tell, record: Callable[[HealthEvent], None], readdress: Callable[[set[str]], None]
    ) -> None:
        self._tell = tell
        self._record = record
        self._readdress = readdress
        self._world = _World()
        self._addresses: Addresses = {}
        self._health: dict[ProbeKey, Health] = {}
        self._users: dict[ProbeKey, list[int]] = {}
        # For each address of each name, whatever pools use it.
        self._polls_of: dict[str, set[tuple[str, Poll]]] = {}
        self._detectors: dict[str, OutlierDetector] = {}
        # Changes that have not been sent yet, with their cause.
        self._dirty: dict[int, str] = {}
        self._readdressed: set[str] = set()
        self._flushed_at = 0.0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._aim_timer: asyncio.TimerHandle | None = None
        self._prober = Prober(self._took, descriptor_limit)
        # Overrides by operators, by pool and name.
        self.overrides: Mapping[tuple[str, str], Override] = {}
        self.members: dict[int, Member] = {}
        self.standings: dict[int, Standing] = {}
        self.pool_health: dict[str, bool] = {}
        self.views: dict[str, PoolView] = {}
        self.fallbacks: dict[str, bool] = {}
        self.told_latencies: dict[str, float] = {}
        # Probes by monitor, and whether they passed.
        self.probes: Counter[tuple[str, bool]] = Counter()

    # --- configuration --------------------------------------------------------------------------------------------

    def apply(self, config: Config, snapshot: Snapshot, addresses: Addresses) -> None:
        """Keep the health of a configuration's origins; the state of origins that stay is kept."""
        former, apps, balancers = self._world, config.apps, config.load_balancers
        is_sent_same = apps is former.apps and balancers is former.load_balancers
        self._world = world = _World(
            monitors=config.monitors,
            pools=config.pools,
            probing={name: probing(pool, config.monitor_groups) for name, pool in config.pools.items()},
            apps=apps,
            load_balancers=balancers,
            headers=former.headers if is_sent_same else headers_used(apps, balancers),
            settings={pool.name: pool for pool in snapshot.pools},
            balancers={balancer.name: balancer for balancer in snapshot.balancers},
        )
        for balancer in snapshot.balancers:
            for name in balancer.pools:
                world.users.setdefault(name, []).append(balancer)
        self.probes = Counter({key: count for key, count in self.probes.items() if key[0] in config.monitors})
        before, self.members = self.members, {}
        for pool in snapshot.pools:
            for origin in pool.origins:
                member = before.get(origin.number) or Member(pool.name, origin)
                member.settings = origin
                self.members[origin.number] = member
        detectors = self._detectors
        self._detectors = {}
        for name, given in config.pools.items():
            detector = self._detectors[name] = detectors.get(name) or OutlierDetector(None, 0)
            detector.settings, detector.size = given.outlier_detection, len(given.origins)
            detector.records = {n: record for n, record in detector.records.items() if n in self.members}
        for known in (self.views, self.pool_health, self.told_latencies):
            for name in known.keys() - self._world.settings.keys():
                del known[name]
        self.standings = {n: standing for n, standing in self.standings.items() if n in self.members}
        self.fallbacks = {b.name: self.fallbacks.get(b.name, False) for b in snapshot.balancers}
        self._dirty = {n: cause for n, cause in self._dirty.items() if n in self.members}
        self._aim(addresses)
        for number in self.members:
            self._judge(number, "the configuration changed")
        changed = {name: None for name, pool in world.settings.items() if former.settings.get(name) != pool}
        for name, balancer in world.balancers.items():
            if former.balancers.get(name) != balancer:
                changed |= dict.fromkeys(balancer.pools)
        self._flush(dict.fromkeys(changed, "the configuration changed"))
        if self._tick_timer is None:
            self._tick_timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def override(self, overrides: Mapping[tuple[str, str], Override]) -> None:
        """Apply the overrides of operators, by pool and name of an origin; workers are told at once."""
        before, self.overrides = self.overrides, overrides
        for number, member in self.members.items():
            key = member.pool, member.settings.name
            if before.get(key) != overrides.get(key):
                self._judge(number, "set by hand")
        self._flush()

    def override_of(self, member: Member) -> Override:
        """Return the override of an origin by an operator."""
        return self.overrides.get((member.pool, member.settings.name), NO_OVERRIDE)

    def resolve(self, addresses: Addresses) -> None:
        """Take new addresses of names; they are applied together shortly after, as a start brings many."""
        self._addresses = addresses
        if self._aim_timer is None:
            self._aim_timer = asyncio.get_running_loop().call_later(TELL_GAP_S, self._aim_again)

    def _aim_again(self) -> None:
        self._aim_timer = None
        self._aim(self._addresses)
        for number, member in self.members.items():
            if member.settings.dns is not None:
                self._judge(number, "its name has other addresses")

    def _aim(self, addresses: Addresses) -> None:
        """Start the probes that are needed, and stop the others."""
        self._addresses = addresses
        targets: dict[Hashable, ProbeTarget] = {}
        self._users, self._polls_of = {}, {}
        for number, member in self.members.items():
            found = self._targets_of(member)
            known = {key.monitor for key in found if key in self._health}
            for key, target in found.items():
                targets[key] = target
                self._users.setdefault(key, []).append(number)
                if key not in self._health:
                    # A reload that changes how an origin is probed does not make its verdict unknown.
                    verdict = member.healthy if member.keys and key.monitor not in known else None
                    reason = "" if self._has_group(member) else member.reason
                    self._health[key] = Health(healthy=verdict, reason=reason or "not probed yet")
            member.keys = tuple(found)
            polls = self._polls(member)
            member.polls = tuple(polls.values())
            if member.settings.dns is not None:
                self._polls_of.setdefault(name_key(member.settings.dns), set()).update(polls.items())
        self._health = {key: health for key, health in self._health.items() if key in targets}
        self._prober.watch(targets)

    def _targets_of(self, member: Member) -> dict[ProbeKey, ProbeTarget]:
        found: dict[ProbeKey, ProbeTarget] = {}
        if member.settings.enabled:
            for one in self._world.probing[member.pool]:
                found |= self.targets_under(member, one.monitor, self._world.monitors[one.monitor])
        return found

    def targets_under(self, member: Member, name: str, monitor: Monitor) -> dict[ProbeKey, ProbeTarget]:
        """Return what is probed of an origin under a monitor other than its own, perhaps; `name` is the monitor's."""
        origin = member.settings
        header: str = monitor.proxy_protocol
        if header == "auto":
            header = next(iter(self._world.headers.get((member.pool, probed_transport(monitor)), ("off",))))
        if monitor.type == "icmp_ping":
            header = "off"
        port = 0 if monitor.type == "icmp_ping" else probe_port(monitor, origin.port)
        found = {}
        for address in self._addresses_of(origin):
            key = ProbeKey(name, address, port, origin.host, header)
            found[key] = ProbeTarget(monitor, address, port, origin.host, origin.dns.name if origin.dns else "", header)
        return found

    def _polls(self, member: Member) -> dict[str, Poll]:
        """Return the monitors that decide on each address of an origin that is probed."""
        counts = {
            one.monitor: one.must_be_healthy for one in self._world.probing[member.pool] if not one.monitoring_only
        }
        voters: dict[str, list[Voter]] = {}
        for key in member.keys:
            found = voters.setdefault(key.address, [])
            if key.monitor in counts:
                found.append(Voter(key, counts[key.monitor]))
        return {address: Poll(tuple(found), self._has_group(member)) for address, found in voters.items()}

    def _has_group(self, member: Member) -> bool:
        return self._world.pools[member.pool].monitor_group is not None

    def _addresses_of(self, origin: OriginSettings) -> tuple[str, ...]:
        return (origin.address,) if origin.dns is None else self._addresses.get(name_key(origin.dns), ())

    # --- results --------------------------------------------------------------------------------------------------

    def _took(self, key: Hashable, result: ProbeResult, began: float) -> None:
        """Take the result of a probe."""
        assert isinstance(key, ProbeKey), "the keys are ours"
        health, monitor = self._health[key], self._world.monitors[key.monitor]
        self.probes[key.monitor, result.ok] += 1
        now, before = time.monotonic(), health.healthy
        changed = health.take(result, monitor.consecutive_up, monitor.consecutive_down, now)
        for number in self._users[key] if changed or result.ok else ():
            member = self.members[number]
            if changed and member.settings.dns is not None:
                self._readdressed.add(name_key(member.settings.dns))
            returned = (
                result.ok and _decides(key, member) and self._detectors[member.pool].probe_passed(number, began, now)
            )
            if returned:
                self._event(member, "originReturned", True, "a probe passed", key)
            cause = health.reason or "probes pass"
            if changed and self._has_group(member):
                # A first result that is healthy is recorded for the origin as well.
                if before is not None or not result.ok:
                    self._event(member, "monitorHealth", result.ok, cause, key)
                cause = f"{key.monitor}: {cause}"
            if changed or returned:
                self._judge(number, cause, key)

    def count_outcomes(self, outcomes: Mapping[int, OriginOutcomes]) -> None:
        """Take the outcomes of clients' sessions at origins."""
        now = time.monotonic()
        for number, counted in outcomes.items():
            member = self.members.get(number)
            if member is None:
                continue
            if self._detectors[member.pool].take(number, counted, partial(self._others_usable, member.pool), now):
                self._was_ejected(number, now)

    def _was_ejected(self, number: int, now: float) -> None:
        member = self.members[number]
        record = self._detectors[member.pool].records[number]
        member.ejections += 1
        self._event(member, "originEjected", False, f"{record.reason}; for {record.ejected_until - now:.0f} s")
        self._judge(number, record.reason)

    def _others_usable(self, pool: str, number: int) -> int:
        origins = (origin for origin in self._world.settings[pool].origins if origin.number != number)
        return sum(
            origin.enabled and weight_of(origin, self.standings) > 0 and self.standings[origin.number].usable
            for origin in origins
        )

    def _tick(self) -> None:
        # Re-armed first: the loop logs a failure below, which must not stop the ticks.
        self._tick_timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        now = time.monotonic()
        for pool, detector in self._detectors.items():
            for number in detector.due(now):
                if number in self.members:
                    self._event(self.members[number], "originReturned", True, "its time is over")
                    self._judge(number, "its ejection is over")
            for number in detector.compare(partial(self._others_usable, pool), now):
                self._was_ejected(number, now)
        for name, view in list(self.views.items()):
            if view.ramping:
                self._look_at(name, "")
        self._tell_latencies()

    def latency_of(self, pool: str) -> float:
        """Return the mean round trip of probes of a pool's usable origins in seconds; 0 without any."""
        found = [rtt_s for number in self.views[pool].usable if (rtt_s := self.rtt_of(number))]
        return sum(found) / len(found) if found else 0.0

    def _tell_latencies(self) -> None:
        """Send workers the latencies that steer clients."""
        steering = (balancer for balancer in self._world.balancers.values() if balancer.policy == "dynamic_latency")
        measured = {name: self.latency_of(name) for name in {name for each in steering for name in each.pools}}
        changed = {
            name: latency
            for name, latency in measured.items()
            if latency and abs(latency - self.told_latencies.get(name, 0.0)) > LATENCY_STEP * latency
        }
        if changed:
            self.told_latencies |= changed
            self._tell({}, changed)

    # --- verdicts -------------------------------------------------------------------------------------------------

    def _verdict(self, member: Member) -> tuple[bool | None, str]:
        """Return whether any address of an origin is healthy, and why not."""
        if not self._world.settings[member.pool].monitored:
            return True, ""
        if not member.settings.enabled:
            return None, "disabled, so not probed"
        if not member.polls:
            return False, "its name has no address"
        found = [self._outcome(poll) for poll in member.polls]
        if any(healthy for healthy, _ in found):
            return True, ""
        return (None if any(healthy is None for healthy, _ in found) else False), found[0][1]

    def _outcome(self, poll: Poll) -> tuple[bool | None, str]:
        """Return whether an address of an origin is healthy, and why not."""
        votes = []
        for key, must_be_healthy in poll.voters:
            health = self._health[key]
            reason = f"{key.monitor}: {health.reason}" if poll.of_group else health.reason
            votes.append(Vote(health.healthy, reason, must_be_healthy))
        return combine(votes)

    def _judge(self, number: int, cause: str, key: ProbeKey | None = None) -> None:
        """Update an origin's verdict; changes are sent soon. `key` is that of the probe that caused it, if any.

        `key` is of the probe that is the cause, if one is.
        """
        member = self.members[number]
        healthy, member.reason = self._verdict(member)
        if key is not None and self._has_group(member):
            cause = member.reason or cause  # The reason names all monitors that fail.
        if healthy is not member.healthy:
            self._dirty[number] = cause
            self._flush_soon()
            member.changes += member.healthy is not None
            member.healthy, member.changed_at = healthy, time.time()
            if healthy is not None and self._world.settings[member.pool].monitored:
                self._event(member, "originHealth", healthy, cause, key)
        old = self.standings.get(number)
        override = self.override_of(member)
        usable = bool(healthy) and not self._detectors[member.pool].ejected(number) and not override.out
        # At a start all shares would grow alike; an origin without a monitor has its whole share at once.
        since = 0.0 if old is None else old.since if old.usable is usable else time.monotonic() if usable else 0.0
        standing = Standing(usable, since, override.out, override.weight)
        if standing == old:
            return
        self.standings[number] = standing
        self._dirty[number] = cause
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Send a single change at once, and changes in quick succession together."""
        loop = asyncio.get_running_loop()
        if self._flush_timer is None:
            self._flush_timer = loop.call_at(self._flushed_at + TELL_GAP_S, self._flush)

    def _flush(self, pools: Mapping[str, str] | None = None) -> None:
        """Send changes to workers, and update pools and load balancers. `pools`, with the cause, are updated even if
        none of their origins changed.

        `pools` are to be looked at whether their origins changed or not, with the cause.
        """
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._flushed_at = asyncio.get_running_loop().time()
        dirty, self._dirty = self._dirty, {}
        if dirty:
            self._tell({number: self.standings[number] for number in dirty}, {})
        readdressed, self._readdressed = self._readdressed, set()
        if readdressed:
            self._readdress(readdressed)
        causes = dict(pools or {}) | {self.members[number].pool: cause for number, cause in dirty.items()}
        for pool, cause in causes.items():
            self._look_at(pool, cause)

    def _look_at(self, pool: str, cause: str) -> None:
        """Update the state of a pool, and of the load balancers that use it."""
        settings = self._world.settings[pool]
        view = self.views[pool] = PoolView(settings, self.standings, time.monotonic())
        if settings.monitored and all(self.members[origin.number].healthy is None for origin in settings.origins):
            return  # nothing is known yet
        if self.pool_health.get(pool) is not view.healthy:
            known = pool in self.pool_health
            self.pool_health[pool] = view.healthy
            if known or settings.monitored:
                up = f"{view.up} of {len(settings.origins)} origins are up, {settings.minimum_origins} needed"
                self._emit("poolHealth", view.healthy, f"{up}; {cause}" if cause else up, pool)
        for balancer in self._world.users.get(pool, ()):
            if all(name in self.pool_health for name in balancer.pools):
                self._check_fallback(balancer, cause)

    def _check_fallback(self, balancer: BalancerSettings, cause: str) -> None:
        fell_back = not any(self.pool_health[pool] for pool in balancer.pools)
        if fell_back is not self.fallbacks.get(balancer.name, False):
            self.fallbacks[balancer.name] = fell_back
            self._emit("loadBalancerFallback", not fell_back, cause, balancer.fallback, balancer.name)

    # --- events ---------------------------------------------------------------------------------------------------

    def _emit(self, event: str, healthy: bool, reason: str, pool: str, balancer: str = "") -> None:
        self._record(HealthEvent(event, datetime.now(UTC), healthy, reason, pool, LoadBalancer=balancer))

    def _event(self, member: Member, event: str, healthy: bool, reason: str, key: ProbeKey | None = None) -> None:
        """Record a change of an origin; `key` is that of the probe that caused it, if any."""
        pool, monitor = self._world.pools[member.pool], key.monitor if key is not None else ""
        if key is None and member.keys:
            key = member.keys[0]
        health = self._health[key] if key is not None else Health()
        self._record(
            HealthEvent(
                event,
                datetime.now(UTC),
                healthy,
                reason,
                member.pool,
                member.settings.name,
                key.address if key is not None else member.settings.address,
                pool.monitor or monitor,
                "",
                health.code,
                round(self.rtt_of(member.settings.number) * 1e9),
                pool.monitor_group or "",
            )
        )

    # --- status and metrics ---------------------------------------------------------------------------------------

    def rtt_of(self, number: int) -> float:
        """Return the mean round trip of an origin's probes in seconds, of its fastest address; 0 without any. With
        several monitors it is the mean of those that decide, as at Cloudflare.
        """
        found = [self._rtt_at(poll) for poll in self.members[number].polls if self._outcome(poll)[0]]
        return min((rtt_s for rtt_s in found if rtt_s), default=0.0)

    def _rtt_at(self, poll: Poll) -> float:
        healthy = [health for key, _ in poll.voters if (health := self._health[key]).healthy]
        found = [health.rtt_s for health in healthy if health.rtt_s]
        return sum(found) / len(found) if found else 0.0

    def code_of(self, number: int) -> int:
        """Return the status code of HTTP or SMTP with which an origin answered the last probe that counts; 0 without
        any.
        """
        member = self.members[number]
        found = (self._health[voter.key] for poll in member.polls for voter in poll.voters)
        return next((one.code for one in found if one.code and (one.healthy or False) is (member.healthy or False)), 0)

    def probes_of(self, number: int) -> str:
        """Return the last results of an origin's probes, the oldest first: 1 where it passed, 0 where it failed.

        With several addresses they are those of the first.
        """
        keys = self.members[number].keys
        return bin(self._health[keys[0]].history)[3:] if keys else ""

    async def probe(self, target: ProbeTarget) -> ProbeResult:
        """Return the result of one probe, which does not affect health."""
        return await self._prober.probe(target)

    def findings_of(self, number: int) -> list[MonitorFinding]:
        """Return the findings of each member of a pool's monitor group about an origin; nothing without a group."""
        member = self.members[number]
        return [
            MonitorFinding(one, best.healthy, "" if best.healthy else best.reason, best.rtt_s)
            for one in self._world.probing[member.pool]
            if self._has_group(member)
            if (best := self._best(one.monitor, member)) is not None
        ]

    def _best(self, monitor: str, member: Member) -> Health | None:
        found = [self._health[key] for key in member.keys if key.monitor == monitor]
        return max(found, key=lambda health: (health.healthy is True, health.healthy is None), default=None)

    def certificate_of(self, number: int) -> float:
        """Return when an origin's certificate expires (seconds since 1970), the earliest of its addresses'; 0 without
        any.
        """
        found = [self._health[key].certificate_expires for key in self.members[number].keys]
        return min((expires for expires in found if expires), default=0.0)

    def ejected_for(self, number: int) -> float:
        """Return the seconds until an origin's ejection ends; 0 if it is not ejected."""
        record = self._detectors[self.members[number].pool].records.get(number)
        return max(0.0, record.ejected_until - time.monotonic()) if record and record.ejected_until else 0.0

    def addresses_for_workers(self, addresses: Addresses) -> dict[str, tuple[str, ...]]:
        """Return names with their addresses that are not down; with all addresses if all are down."""
        return {name: self._up_of(name, found) or found for name, found in addresses.items()}

    def _up_of(self, name: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
        down = {address for address, poll in self._polls_of.get(name, ()) if self._outcome(poll)[0] is False}
        return tuple(address for address in addresses if address not in down)

    async def stop(self) -> None:
        """Stop probing."""
        for timer in (self._flush_timer, self._tick_timer, self._aim_timer):
            if timer is not None:
                timer.cancel()
        await self._prober.stop()


def _decides(key: ProbeKey, member: Member) -> bool:
    return any(voter.key == key for poll in member.polls for voter in poll.voters)
