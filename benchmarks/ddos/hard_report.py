"""What detection does where it knows too little, or something wrong, as a table."""

from collections.abc import Iterable, Iterator

from benchmarks.ddos import hard
from benchmarks.ddos.hard import Outcome
from spectrum.simulation.normal import CROWDS

COLUMNS = "| case | runs | rules without an attack | attack matched, least | normal lost, most, % | actions |"
ATTACKS = ("udp_random", "syn_random", "game_replay", "ntp_reflection")


def rows(seeds: Iterable[int]) -> Iterator[str]:
    """Yield the lines of the table."""
    seeds = tuple(seeds)
    for label, changed in (
        ("5 % of flows lost", hard.flows_lost(0.05)),
        ("20 % of flows lost", hard.flows_lost(0.2)),
        ("all flows lost", hard.flows_lost(1.0)),
        ("known sources lost", hard.known_lost),
        ("clients upgraded", hard.upgraded),
    ):
        yield _row(
            label,
            [hard.with_attack(seed, changed) for seed in seeds],
            [hard.with_attack(seed, changed, vector, quiet_s=1) for seed in seeds for vector in ATTACKS],
        )
    crowds = [hard.attack_in_crowd(name, vector, seed) for seed in seeds for name in CROWDS for vector in ATTACKS]
    yield _row("an attack in a crowd", [], [came for came, _ in crowds])
    shared = [hard.shared_attack(seed) for seed in seeds]
    yield _row(
        "a third of clients behind 8 addresses: crowds; 5,000 hosts that connect",
        [hard.shared_crowd(name, seed) for seed in seeds for name in CROWDS],
        [came for came, _ in shared],
    )
    yield _row("a day, the night has a fifth", [hard.day(seed) for seed in seeds], [])
    yield _row(
        "a restart; an attack 5 s after it",
        [hard.restarted(seed, None) for seed in seeds],
        [hard.restarted(seed, vector, 5) for seed in seeds for vector in ("ntp_reflection", "udp_random")],
    )
    yield _row(
        "an hour of the attack is in the profile",
        [],
        [hard.attack_in_profile(vector, seed) for seed in seeds for vector in ("udp_random", "udp_fixed", "syn_os")],
    )
    yield _row(
        "crowds and normal traffic when a new daemon begins",
        [hard.first_minute(seed, None, name, for_s=10)[0] for seed in seeds for name in (None, *CROWDS)],
        [],
    )
    first = [hard.first_minute(seed, vector, after_s=100) for seed in seeds for vector in ATTACKS]
    yield _row(
        "an attack when a new daemon begins; after it", [after for _, after in first], [during for during, _ in first]
    )


def _row(label: str, quiet: list[Outcome], attacks: list[Outcome]) -> str:
    matched = f"{100 * min(one.matched or 0.0 for one in attacks):.2f} %" if attacks else "-"
    actions = sorted({rule.action.value for one in attacks for rule in one.rules})
    rules = f"{sum(bool(one.rules) for one in quiet)} of {len(quiet)}" if quiet else "-"
    loss = 100 * max(one.loss for one in [*quiet, *attacks])
    return f"| {label} | {len(quiet) + len(attacks)} | {rules} | {matched} | {loss:.3f} | {', '.join(actions)} |"


def sentences(seeds: Iterable[int]) -> Iterator[str]:
    """Yield what is no row of the table."""
    seeds = tuple(seeds)
    crowds = [hard.attack_in_crowd(name, vector, seed)[1] for seed in seeds for name in CROWDS for vector in ATTACKS]
    yield f"openings of a crowd dropped for an attack in it, most: {100 * max(crowds):.2f} %"
    shared = [hard.shared_attack(seed)[1] for seed in seeds]
    yield f"openings dropped where a third shares 8 addresses and 5,000 hosts connect, most: {100 * max(shared):.2f} %"
    for over_s in (10, 60, 600, 3600):
        found = [hard.ramp("udp_random", over_s, seed)[0] for seed in seeds]
        yield f"an attack that grows to 10 times normal in {over_s} s is found at {_most(found)} times normal"
    passed = [hard.pulses("udp_random", seed) for seed in seeds]
    yield f"of pulses, 5 s on and 25 s off, 20 times, there pass at most {100 * max(passed):.2f} %"


def _most(found: Iterable[float | None]) -> str:
    times = list(found)
    return "no" if None in times else f"{max(one for one in times if one is not None):.2f}"
