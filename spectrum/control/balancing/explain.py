"""`spectrum explain`: the steps of the decision for a client, by the code that decides for clients."""

import random
import time

from spectrum.control.balancing.health import HealthKeeper, MonitorFinding
from spectrum.control.balancing.origins import told
from spectrum.core.access.prefix_table import PrefixTable
from spectrum.core.access.rules import AppRules, basis_of
from spectrum.core.address import parse_address
from spectrum.core.balancing.balancer import Balancer, Choice, share_of
from spectrum.core.balancing.clients import client_key
from spectrum.core.balancing.pools import PoolView
from spectrum.core.balancing.settings import BalancerSettings, OriginSettings
from spectrum.core.filter_verdict import FilterVerdict
from spectrum.core.limits.rules import Rule, app_rules, node_rules, setting_of
from spectrum.core.origin_bounds import OriginBounds
from spectrum.core.snapshot import AppSettings, Snapshot
from spectrum.plane.access.firewall import ClientPlaces
from spectrum.plane.limits import MAX_WAIT_NS
from spectrum.plane.memory import SharedMemory


def explain(
    snapshot: Snapshot,
    prefixes: bytes,
    health: HealthKeeper,
    memory: SharedMemory,
    app: str,
    client: str,
    port: int = 0,
    filtered: FilterVerdict | None = None,
) -> list[str]:
    """Return the steps of the decision for a client, as sentences.

    Args:
        snapshot: The snapshot that is served.
        prefixes: The table of its access rules.
        health: The health of origins.
        memory: Loads and affinities.
        app: The app's name.
        client: The client's address.
        port: The client's, which counts for session_affinity ip_port.
        filtered: What the filter does with its packets; None without a filter.

    Raises:
        ValueError: If there is no such app, or the client is not an address.
    """
    settings = app_settings(snapshot, app)
    address = parse_address(client)
    first = f"client {address} of app {app} ({settings.protocol})"
    before = filtered.steps if filtered is not None else []
    if filtered is not None and filtered.drops:
        return [first, *before, "the client gets no answer, and nothing is recorded of it"]
    allowed, access = _access(settings, snapshot, prefixes, address.packed)
    access = [*before, *access]
    if not allowed:
        return [first, *access]
    has_room, limits = _limits(settings, snapshot, memory, address.packed)
    access += limits
    if not has_room:
        return [first, *access]
    if not settings.load_balancer:
        return [f"{first}: no load balancer", *access, *_direct(settings, snapshot, memory)]
    balancer = next(known for known in snapshot.balancers if known.name == settings.load_balancer)
    made = Balancer(balancer, {name: health.views[name] for name in balancer.all_pools()}, health.told_latencies)
    return [
        f"{first}: load balancer {balancer.name}",
        *access,
        *_Explanation(snapshot, made, health, memory, address.packed, port).steps(),
    ]


def app_settings(snapshot: Snapshot, app: str) -> AppSettings:
    """Return the settings of an app.

    Raises:
        ValueError: If there is no such app.
    """
    settings = next((known for known in snapshot.apps if known.name == app), None)
    if settings is None:
        raise ValueError(f"no app {app!r}; known here: {', '.join(known.name for known in snapshot.apps)}")
    return settings


def _direct(settings: AppSettings, snapshot: Snapshot, memory: SharedMemory) -> list[str]:
    """Return the steps for an app with origins of its own."""
    name, bounds = settings.origin_name, settings.bounds
    origins = [f"{address} port {port}" for address, port in settings.origins]
    if name is not None:
        origins = [f"the addresses of {name.name}"]
    steps = [f"its origins are taken in turn: {', '.join(origins)}"]
    counts = [memory.loads.open(place) for place in snapshot.origin_places.get(settings.name, ())]
    full = [count >= bounds.max_sessions for count in counts]
    steps += [
        f"{origin} is full (origin_max_sessions {bounds.max_sessions}) and passed over"
        for origin, is_full in zip(origins, full, strict=False)
        if is_full
    ]
    if full and all(full):
        steps.append(f"every origin that it could go to is full: {_wait(bounds)}")
    return steps


def _wait(settings: BalancerSettings | OriginBounds) -> str:
    return f"it waits up to {settings.queue_timeout_s:g} s in a queue" if settings.queue_size else "it is refused"


class _Explanation:
    def __init__(
        self,
        snapshot: Snapshot,
        balancer: Balancer,
        health: HealthKeeper,
        memory: SharedMemory,
        client: bytes,
        port: int,
    ) -> None:
        self._balancer = balancer
        self._settings: BalancerSettings = balancer.settings
        self._health = health
        self._memory = memory
        self._by_port = self._settings.affinity == "ip_port"
        self._key = client_key(self._settings.name.encode(), client, port if self._by_port else None)
        self._country = _country(snapshot, client) if self._settings.country_pools else ""
        self._pool_of = {origin.number: view for view in balancer.views.values() for origin in view.settings.origins}

    def steps(self) -> list[str]:
        if not self._settings.enabled:
            return ["the load balancer is disabled: the client is refused"]
        tag, remembered = self._affinity()
        choice = self._choose(tag)
        return [*self._place(), *remembered, *self._pools(), *self._result(choice, tag)]

    def _choose(self, tag: int) -> Choice:
        return self._balancer.choose(self._key, random.random, self._memory.loads, tag, self._country)

    def _place(self) -> list[str]:
        if not self._settings.country_pools:
            return []
        known = f"it comes from {self._country}" if self._country else "its country is not known"
        has = "which has pools of its own" if self._country in self._settings.country_pools else "without own pools"
        return [f"{known}, {has}"]

    def _affinity(self) -> tuple[int, list[str]]:
        if self._settings.affinity == "none":
            return 0, ["no session affinity"]
        tag = self._memory.affinities.find(
            self._key, int(time.monotonic()), round(self._settings.affinity_ttl_s), False
        )
        what = f"session affinity by {'address and port' if self._by_port else 'address'}"
        origin = self._balancer.origin_of(tag) if tag else None
        if origin is None:
            return 0, [f"{what}: nothing is stored for it"]
        return tag, [f"{what}: it went to {self._name(origin)} before"]

    def _pools(self) -> list[str]:
        order = [view.settings.name for view in self._balancer.order(self._country)]
        named = self._settings.country_pools.get(self._country, self._settings.pools)
        steps = [self._pool(name) for name in named]
        if not order:
            return [*steps, f"no pool is healthy: fallback pool {self._settings.fallback} serves, its health ignored"]
        how = {
            "off": "in this order",
            "dynamic_latency": "by the latency of their probes",
            "random": "drawn by weight",
            "least_connections": "the one with fewer open sessions for its weight, of two that are drawn",
            "least_outstanding_requests": "the one with fewer waiting clients for its weight, of two that are drawn",
        }[self._settings.policy]
        return [*steps, f"healthy pools, {how}: {', '.join(order)}"]

    def _pool(self, name: str) -> str:
        view = self._balancer.views[name]
        latency = self._health.latency_of(name)
        parts = [f"{view.up} of {len(view.settings.origins)} origins up, {view.settings.minimum_origins} needed"]
        if latency:
            parts.append(f"probes take {latency * 1000:.1f} ms")
        if view.settings.shed_percent:
            parts.append(f"sheds {view.settings.shed_percent:g} % {self._shedding(view)}")
        if view.settings.shed_session_percent:
            parts.append(f"sheds {view.settings.shed_session_percent:g} % of those with affinity")
        state = "healthy" if view.healthy else "disabled" if not view.settings.enabled else "down"
        parts += [
            f"{origin.name}: {told(override)}"
            for origin in view.settings.origins
            if origin.number in view.usable
            and not (override := self._health.override_of(self._health.members[origin.number])).is_nothing
        ]
        parts += [
            f"{origin.name}: {finding.member.monitor} fails ({finding.reason}), {_harmless(finding)}"
            for origin in view.settings.origins
            if origin.number in view.usable
            for finding in self._health.findings_of(origin.number)
            if finding.healthy is False
        ]
        down = [
            f"{origin.name}: {self._trouble(origin)}"
            for origin in view.settings.origins
            if origin.number not in view.usable
        ]
        return f"pool {name} is {state} ({', '.join(parts)})" + (f"; not used: {', '.join(down)}" if down else "")

    def _shedding(self, view: PoolView) -> str:
        if not view.settings.shed_by_hash:
            return "by chance"
        stays = share_of(self._key) >= view.settings.shed_percent
        return f"by hash, this client is at {share_of(self._key):.1f} % and {'stays' if stays else 'is shed'}"

    def _trouble(self, origin: OriginSettings) -> str:
        if not origin.enabled:
            return "disabled"
        if (override := self._health.override_of(self._health.members[origin.number])).out:
            return told(override)
        if left_s := self._health.ejected_for(origin.number):
            return f"ejected for {left_s:.0f} s more"
        standing = self._health.standings.get(origin.number)
        if standing is None or not standing.usable:
            return self._health.members[origin.number].reason or "down"
        return "weight 0"

    def _name(self, origin: OriginSettings) -> str:
        return f"{self._pool_of[origin.number].settings.name}/{origin.name}"

    def _result(self, choice: Choice, tag: int) -> list[str]:
        if choice.full:
            return [*self._full(), f"every origin that it could go to is full: {_wait(self._settings)}"]
        if choice.origin is None:
            return ["there is no origin: the client is refused"]
        view = self._pool_of[choice.origin.number]
        steps = self._full() + ([] if choice.kept else self._within(view))
        where = choice.origin.address or (choice.origin.dns.name if choice.origin.dns else "")
        port = f" port {choice.origin.port}" if choice.origin.port else ""
        chance = "" if choice.kept or self._is_certain(view) else ", if it came now; another draw may differ"
        kept = " again" if choice.kept else ""
        steps.append(f"it goes to {self._name(choice.origin)}{kept} ({where}{port}){chance}")
        if choice.tries > 1:
            others = "another one follows" if choice.tries == 2 else f"up to {choice.tries - 1} others follow"
            steps.append(f"where that cannot be reached, {others}")
        return steps

    def _full(self) -> list[str]:
        loads = self._memory.loads
        return [
            f"{self._name(origin)} is full (max_sessions {origin.max_sessions}) and passed over"
            for view in self._balancer.views.values()
            for number in sorted(view.full(loads))
            for origin in view.settings.origins
            if origin.number == number
        ]

    def _is_certain(self, view: PoolView) -> bool:
        by_client = view.settings.policy == "hash" or (
            view.settings.policy == "random" and self._settings.affinity != "none"
        )
        alone = len(view.usable) < 2
        return self._settings.policy in ("off", "dynamic_latency") and (by_client or alone)

    def _within(self, view: PoolView) -> list[str]:
        names = {origin.number: origin.name for origin in view.settings.origins}
        loads, policy = self._memory.loads, view.settings.policy
        if policy == "random" and self._settings.affinity != "none" and view.usable:
            policy = "hash"
        shown = list(view.shares().items())[:10] if view.usable else []
        more = f" and {len(view.usable) - 10} more" if len(view.usable) > 10 else ""
        if policy.startswith("least"):
            count, what = (loads.open, "open") if policy == "least_connections" else (loads.waiting, "waiting")
            listed = ", ".join(f"{names[number]} {count(number)} {what}" for number, _ in shown)
            return [f"in pool {view.settings.name} the less loaded of two: {listed}{more}"]
        listed = ", ".join(f"{names[number]} {share:.0%}" for number, share in shown)
        how = "its address decides among" if policy == "hash" else "chance decides among"
        return [f"in pool {view.settings.name} {how} {listed}{more}"] if listed else []


def _harmless(finding: MonitorFinding) -> str:
    return "which is monitoring_only" if finding.member.monitoring_only else "without a majority"


def _access(settings: AppSettings, snapshot: Snapshot, prefixes: bytes, client: bytes) -> tuple[bool, list[str]]:
    """Whether access rules let a client in, and what they say; nothing if the app has `access: off`."""
    if not settings.ip_firewall:
        return True, []
    places = ClientPlaces()
    places.read(snapshot.geoip, snapshot.geoip_asn)
    table = PrefixTable(prefixes)
    rules = AppRules(settings.name, snapshot.access, table.find, places.number_of, places.country_of, settings.scopes)
    found = rules.all_of(client)
    places.close()
    if not found:
        return True, ["access rules: none names it, so it gets in"]
    first, *others = found
    basis = basis_of(snapshot.access, table.given, first.rule, client)
    by = f"({first.matched}: {basis})" if basis is not None else f"({first.matched})"
    passed = f"; less specific: {', '.join(verdict.rule for verdict in others)}" if others else ""
    if first.blocks:
        return False, [f"access rule {first.rule} blocks it {by}{passed}", "the client is refused"]
    return True, [f"access rule {first.rule} lets it in {by}{passed}"]


def _limits(settings: AppSettings, snapshot: Snapshot, memory: SharedMemory, client: bytes) -> tuple[bool, list[str]]:
    """Return whether a client is within the limits, and how far it is from each; nothing without limits."""
    if settings.paused:
        return False, ["the app is paused by hand: the client is refused (app_paused)"]
    node = snapshot.tcp_limits if settings.transport == "tcp" else snapshot.udp_limits
    steps = []
    for whose, rules in (
        ("of the app", app_rules(settings.limits, settings.name, settings.transport)),
        ("of the node", node_rules(node, settings.transport)),
    ):
        for rule in rules:
            step = f"limit {whose}, {setting_of(rule)} {rule.limit}: "
            if rule.is_rate:
                is_full, waits = _comes_too_fast(rule, memory, client)
                step += "its turn would come later" if waits else "it is within the rate"
            else:
                wide = rule.scope == "prefix"
                whole = rule.scope == "all"
                count = (
                    memory.census.count(rule.group) if whole else memory.census.count_client(rule.group, client, wide)
                )
                is_full = count >= rule.limit
                step += f"{count} open"
            steps.append(step)
            if is_full:
                return False, [*steps, f"the client is refused ({rule.reason.label})"]
    return True, steps


def _comes_too_fast(rule: Rule, memory: SharedMemory, client: bytes) -> tuple[bool, bool]:
    """Return whether a limit per second would refuse a client now, and whether the client would wait."""
    key = rule.group if rule.scope == "all" else memory.census.key_of(rule.group, client, rule.scope == "prefix")
    wait_ns = memory.rates.wait_ns(key, rule.limit, time.monotonic_ns())
    return wait_ns > (MAX_WAIT_NS if rule.delays else 0), wait_ns > 0


def _country(snapshot: Snapshot, client: bytes) -> str:
    places = ClientPlaces()
    places.read(snapshot.geoip, "")
    try:
        return places.country_of(client)
    finally:
        places.close()
