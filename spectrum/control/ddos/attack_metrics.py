"""The metrics of attacks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from spectrum.core.ddos.attack_events import Attack, AttackEvent
from spectrum.core.life.attack import AttackState

# Upper bounds of the time from an attack's first packet to the first rule in force.
BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
_OPEN = tuple(state for state in AttackState if state not in (AttackState.SEEN, AttackState.ENDED))


class AttackCounts:
    """Counters of attacks since the daemon's start, and times to mitigate."""

    def __init__(self) -> None:
        # By vector and app.
        self.begun: Counter[tuple[str, str]] = Counter()
        self.matched: Counter[tuple[str, str]] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.dropped_bytes: Counter[tuple[str, str]] = Counter()
        self.times: list[int] = [0] * (len(BUCKETS_S) + 1)
        self.time_sum = 0.0
        self._met: set[str] = set()

    def know(self, attack: Attack) -> None:
        """Register an attack of the previous daemon: its time to mitigate is not counted again."""
        if attack.ended is None and attack.mitigated_after is not None:
            self._met.add(attack.id)

    def take(self, event: AttackEvent, told: Mapping[str, tuple[int, int]]) -> None:
        """Count the new packets of an attack.

        Args:
            event: What happened.
            told: Packets and bytes of each rule that were counted before.
        """
        attack = event.attack
        if event.kind in ("began", "left_alone"):
            self.begun.update((vector, attack.app) for vector in attack.vectors)
        for rule in attack.rules:
            key = rule.vector, attack.app
            packets, size = told.get(rule.name, (0, 0))
            more = max(0, rule.packets - packets)
            self.matched[key] += more
            self.dropped[key] += more if rule.drops else 0
            self.dropped_bytes[key] += max(0, rule.bytes - size) if rule.drops else 0
        if attack.mitigated_after is not None and attack.id not in self._met:
            self._met.add(attack.id)
            self.time_sum += attack.mitigated_after
            place = sum(bound < attack.mitigated_after for bound in BUCKETS_S)
            self.times[place] += 1
        if attack.ended is not None:
            self._met.discard(attack.id)


def attack_metrics(attacks: Iterable[Attack], counts: AttackCounts) -> Iterator[Metric]:
    """Yield the metrics of attacks.

    Args:
        attacks: Those that are open.
        counts: The counters.
    """
    attacks = tuple(attacks)
    states = Counter(one.state for one in attacks)
    shown = GaugeMetricFamily("spectrum_ddos_attacks", "Attacks that have not ended", labels=["state"])
    for state in _OPEN:
        shown.add_metric([state.value], states[state])
    yield shown
    actions = Counter(rule.action for one in attacks for rule in one.rules if rule.name and rule.ended is None)
    rules = GaugeMetricFamily("spectrum_ddos_rules", "Rules in force that were written for attacks", labels=["action"])
    for action in sorted(actions):
        rules.add_metric([action], actions[action])
    yield rules
    labels = ["vector", "app"]
    for name, meaning, values in (
        ("begun", "Attacks that began, and their vectors", counts.begun),
        ("matched_packets", "Packets that rules for attacks matched", counts.matched),
        ("dropped_packets", "Packets of attacks that were dropped", counts.dropped),
        ("dropped_bytes", "Bytes of packets of attacks that were dropped", counts.dropped_bytes),
    ):
        family = CounterMetricFamily(f"spectrum_ddos_{name}", meaning, labels=labels)
        for key in sorted(values):
            family.add_metric(list(key), values[key])
        yield family
    sums, total = [], 0
    for bound, count in zip((*BUCKETS_S, float("inf")), counts.times, strict=True):
        total += count
        sums.append((str(bound) if bound != float("inf") else "+Inf", total))
    yield HistogramMetricFamily(
        "spectrum_ddos_mitigation_seconds",
        "Time from the first packet of an attack to the first rule in force",
        buckets=sums,
        sum_value=counts.time_sum,
    )
