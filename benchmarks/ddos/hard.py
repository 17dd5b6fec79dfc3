"""What detection meets beside floods: what it knows is out of date or lost, and attacks that hide."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from math import cos, pi

import numpy as np

from benchmarks.ddos.score import LEARN_LOOKS, dropped, learned, matched_by
from spectrum.core.ddos.detector import SUB_WINDOW_S, Detector, FloodRule, RuleWritten
from spectrum.core.ddos.packets import IN_USE, OPENING, Packets
from spectrum.core.ddos.profile import Profile
from spectrum.simulation.normal import GAME, RATE, STACKS, VOICE, WEB, World, crowd, normal, payload_of
from spectrum.simulation.vectors import flood

BEGIN = LEARN_LOOKS * SUB_WINDOW_S
# Looks of a simulated day are of so many seconds each, and have as many samples as one of 250 ms.
MINUTE_S = 60.0
Changed = Callable[[World, Packets], Packets]


@dataclass(frozen=True)
class Outcome:
    """What a case came to.

    Attributes:
        rules: Those that were written, in order.
        matched: Which part of the attack they match at its end; None where there was none.
        loss: Which part of fresh normal packets they drop at the end.
    """

    rules: tuple[FloodRule, ...]
    matched: float | None = None
    loss: float = 0.0


def watch(
    detector: Detector, looks: Iterator[Packets], begin: float = BEGIN, seconds: float = SUB_WINDOW_S
) -> list[FloodRule]:
    """Show a detector some looks; return the rules that it wrote."""
    written = []
    for number, packets in enumerate(looks, 1):
        now = begin + number * seconds
        written += [event.rule for event in detector.look(packets, seconds, now) if isinstance(event, RuleWritten)]
    return written


def outcome(world: World, detector: Detector, rules: list[FloodRule], vector: str | None, changed: Changed) -> Outcome:
    """Return what the rules in force do to fresh packets."""
    fresh = changed(world, normal(world, 1.0, 1.0))
    loss = float(dropped(detector.rules, fresh, 1.0, spoofed=False).mean())
    share = matched_by(detector.rules, flood(world, vector, 4_000, 1.0, 1.0)) if vector else None
    return Outcome(tuple(rules), share, loss)


def with_attack(
    seed: int,
    changed: Changed,
    vector: str | None = None,
    one_in: float = 100.0,
    quiet_s: float = 5.0,
    attack_s: float = 3.0,
) -> Outcome:
    """Return what comes of normal traffic that something has changed, and of an attack of ten times normal in it."""
    world, detector = learned(seed)

    def looks() -> Iterator[Packets]:
        for number in range(int((quiet_s + attack_s * bool(vector)) / SUB_WINDOW_S)):
            parts = [changed(world, normal(world, SUB_WINDOW_S, one_in))]
            if vector and number * SUB_WINDOW_S >= quiet_s:
                parts.append(flood(world, vector, 10 * RATE, SUB_WINDOW_S, one_in))
            yield Packets.joined(parts)

    return outcome(world, detector, watch(detector, looks()), vector, changed)


def flows_lost(share: float) -> Changed:
    """Return what makes such a part of packets of flows in use look as if they belonged to none."""

    def change(world: World, packets: Packets) -> Packets:
        lost = world.chance.random(len(packets)) < share
        return packets.replaced(state=np.where(lost, OPENING, packets["state"]).astype(np.uint8))

    return change


def known_lost(world: World, packets: Packets) -> Packets:
    """Forget who is known."""
    return packets.replaced(known=np.zeros(len(packets), np.uint8))


def upgraded(world: World, packets: Packets) -> Packets:
    """Give three in ten players a new version of the game, new systems their SYN, and calls another codec."""
    is_new = (packets["source_low"] * np.uint64(40503) >> np.uint64(5)) % np.uint64(10) < 3
    random = packets["payload"]
    players = payload_of(np.full(len(packets), 0x475705), 3, random)
    calls = payload_of(np.full(len(packets), 0x8060), 2, random)
    payload = np.select(
        [is_new & (packets["app"] == GAME), is_new & (packets["app"] == VOICE)], [players, calls], random
    )
    syn = is_new & (packets["app"] == WEB) & (packets["options"] == STACKS[0, 0])
    return packets.replaced(
        payload=payload,
        options=np.where(syn, 0x51A10009, packets["options"]).astype(np.uint32),
        window=np.where(syn, 62727, packets["window"]).astype(np.uint16),
    )


def shared_addresses(world: World, packets: Packets) -> Packets:
    """Put a third of all clients behind eight addresses."""
    behind = (packets["source_low"] * np.uint64(2654435761) >> np.uint64(9)) % np.uint64(3) == 0
    shared = np.uint64(0xFFFF << 32 | 100 << 24 | 64 << 16) | packets["source_low"] % np.uint64(8)
    return packets.replaced(source_low=np.where(behind & (packets["version"] == 4), shared, packets["source_low"]))


def unchanged(world: World, packets: Packets) -> Packets:
    """Change nothing."""
    return packets


def attack_in_crowd(name: str, vector: str, seed: int, one_in: float = 100.0) -> tuple[Outcome, float]:
    """Return what comes of an attack while a crowd is there, and which part of the crowd's openings is dropped."""
    world, detector = learned(seed)

    def looks() -> Iterator[Packets]:
        for number in range(24):
            after = number * SUB_WINDOW_S
            parts = [normal(world, SUB_WINDOW_S, one_in), crowd(world, name, 1, after, SUB_WINDOW_S, one_in)]
            if after >= 3:
                parts.append(flood(world, vector, 10 * RATE, SUB_WINDOW_S, one_in))
            yield Packets.joined(parts)

    came = outcome(world, detector, watch(detector, looks()), vector, unchanged)
    people = crowd(world, name, 1, 6.0, 1.0, 1.0)
    openings = people.where(people["state"] != IN_USE)
    return came, float(dropped(detector.rules, openings, 1.0, spoofed=False).mean())


def shared_crowd(name: str, seed: int, one_in: float = 100.0) -> Outcome:
    """Return what comes of a crowd of which a third is behind eight addresses."""
    world, detector = learned(seed)
    looks = (
        shared_addresses(
            world,
            Packets.joined(
                [
                    normal(world, SUB_WINDOW_S, one_in),
                    crowd(world, name, 1, number * SUB_WINDOW_S, SUB_WINDOW_S, one_in),
                ]
            ),
        )
        for number in range(12)
    )
    return Outcome(tuple(watch(detector, looks)))


def shared_attack(seed: int, vector: str = "connections", one_in: float = 100.0) -> tuple[Outcome, float]:
    """Return what an attack of real hosts comes to where a third of clients share addresses, and what they lose."""
    world = World(seed)
    detector = Detector(Profile(seed, settle_s=0))
    watch(detector, (shared_addresses(world, normal(world, SUB_WINDOW_S, 20.0)) for _ in range(LEARN_LOOKS)), 0.0)
    looks = (
        Packets.joined(
            [
                shared_addresses(world, normal(world, SUB_WINDOW_S, one_in)),
                flood(world, vector, 10 * RATE, SUB_WINDOW_S, one_in),
            ]
        )
        for _ in range(12)
    )
    came = outcome(world, detector, watch(detector, looks), vector, shared_addresses)
    fresh = shared_addresses(world, normal(world, 1.0, 1.0))
    openings = (fresh["state"] != IN_USE) & (fresh["app"] == WEB)
    return came, float(dropped(detector.rules, fresh, 1.0, spoofed=False)[openings].mean())


def day(seed: int, low: float = 0.2) -> Outcome:
    """Return what comes of a day whose quietest hour has so small a part of the traffic of the busiest."""
    world, detector = learned(seed)
    level = world.level

    def looks() -> Iterator[Packets]:
        for minute in range(1440):
            world.level = level * (1 + low + (1 - low) * cos(2 * pi * minute / 1440)) / 2
            yield normal(world, MINUTE_S, 20.0 * MINUTE_S / SUB_WINDOW_S)
        world.level = level

    return Outcome(tuple(watch(detector, looks(), seconds=MINUTE_S)))


def ramp(vector: str, over_s: float, seed: int, one_in: float = 100.0) -> tuple[float | None, float]:
    """Return at how many times normal an attack is found that grows to ten times in so many seconds, and its match.

    Args:
        vector: The attack.
        over_s: In which it grows.
        seed: Of all chance.
        one_in: One packet of so many is sampled.
    """
    world, detector = learned(seed)
    looks = 240
    seconds = max(SUB_WINDOW_S, over_s / looks)
    for number in range(int(over_s / seconds) + 12):
        times = min(10.0, 10.0 * number * seconds / over_s)
        wider = one_in * seconds / SUB_WINDOW_S
        parts = [normal(world, seconds, wider), flood(world, vector, times * RATE, seconds, wider)]
        detector.look(Packets.joined(parts), seconds, BEGIN + (number + 1) * seconds)
        share = matched_by(detector.rules, flood(world, vector, 4_000, 1.0, 1.0))
        if share >= 0.9:
            return times, share
    return None, share


def pulses(vector: str, seed: int, times: int = 20, one_in: float = 1000.0) -> float:
    """Return which part of an attack passes that comes for 5 s and is away for 25 s, so many times."""
    world, detector = learned(seed)
    passed = sent = 0.0
    now = BEGIN
    for number in range(int(times * 30 / SUB_WINDOW_S)):
        parts = [normal(world, SUB_WINDOW_S, one_in)]
        if number * SUB_WINDOW_S % 30 < 5:
            parts.append(flood(world, vector, 10 * RATE, SUB_WINDOW_S, one_in))
            share = matched_by(detector.rules, parts[1])
            passed, sent = passed + len(parts[1]) * (1 - share), sent + len(parts[1])
        now += SUB_WINDOW_S
        detector.look(Packets.joined(parts), SUB_WINDOW_S, now)
    return passed / sent


def attack_in_profile(vector: str, seed: int, hours: float = 1.0) -> Outcome:
    """Return what an attack comes to that a profile of three days has learned for so long: nobody had noticed it."""
    world, profile = _with_attack_learned(vector, seed, hours)
    detector, begin = Detector(profile), 3 * 86_400.0 + 7_200
    watch(detector, (normal(world, 15.0, 6_000.0) for _ in range(5)), begin, 15.0)
    looks = (
        Packets.joined([normal(world, SUB_WINDOW_S, 100.0), flood(world, vector, 10 * RATE, SUB_WINDOW_S, 100.0)])
        for _ in range(12)
    )
    return outcome(world, detector, watch(detector, looks, begin + 75), vector, unchanged)


def _with_attack_learned(vector: str, seed: int, hours: float) -> tuple[World, Profile]:
    return deepcopy(_learned_with_attack(vector, seed, hours))


@cache
def _learned_with_attack(vector: str, seed: int, hours: float) -> tuple[World, Profile]:
    world, profile = World(seed), Profile(seed)
    step, at = 900.0, 0.0
    for number in range(int(3 * 86_400 / step) + 12):
        parts = [normal(world, step, 40.0 * step / SUB_WINDOW_S)]
        if 0 <= 3 * 86_400 - at <= hours * 3600:
            parts.append(flood(world, vector, 10 * RATE, step, 100.0 * step / SUB_WINDOW_S))
        at = number * step
        profile.learn(Packets.joined(parts), step, at)
    return world, profile


def restarted(
    seed: int, vector: str | None, after_s: float = 0.0, with_profile: bool = True, for_s: float = 70.0
) -> Outcome:
    """Return what comes of a restart, with its profile or without, and an attack that begins so long after it."""
    world, before = learned(seed)
    profile = Profile(seed + 1, settle_s=0)
    if with_profile:
        former = before.profile
        for app in former.apps:
            memory = former.memory_of(app, BEGIN)
            assert memory is not None, "it knows its apps"
            profile.recall(app, memory, BEGIN + 5)
        profile.resume(former.known_rate)
    detector = Detector(profile)
    looks = (
        Packets.joined(
            [
                normal(world, SUB_WINDOW_S, 100.0),
                flood(
                    world,
                    vector or "udp_fixed",
                    10 * RATE * bool(vector) * (number * SUB_WINDOW_S >= after_s),
                    SUB_WINDOW_S,
                    100.0,
                ),
            ]
        )
        for number in range(int((after_s + for_s) / SUB_WINDOW_S))
    )
    return outcome(world, detector, watch(detector, looks, BEGIN + 5), vector, unchanged)


def first_minute(
    seed: int, vector: str | None, crowded: str | None = None, for_s: float = 90.0, after_s: float = 0.0
) -> tuple[Outcome, Outcome]:
    """Return what comes of an attack that is there when a new daemon begins, and of normal traffic thereafter.

    Nobody is known at the start, and of whom are known later, one more in fifty each second.

    Args:
        seed: Of all chance.
        vector: The attack; None for none.
        crowded: The crowd that is there; None for none.
        for_s: So long the attack lasts.
        after_s: So long is looked at after it.
    """
    world, detector = World(seed), Detector(Profile(seed))

    def looks(begin: float, seconds: float, attack: str | None) -> Iterator[Packets]:
        for number in range(int(seconds / SUB_WINDOW_S)):
            at = begin + number * SUB_WINDOW_S
            parts = [normal(world, SUB_WINDOW_S, 100.0)]
            if crowded:
                parts.append(crowd(world, crowded, 1, at, SUB_WINDOW_S, 100.0))
            people = Packets.joined(parts)
            is_known = world.chance.random(len(people)) < at / 50
            parts = [people.replaced(known=people["known"] * is_known)]
            if attack:
                parts.append(flood(world, attack, 10 * RATE, SUB_WINDOW_S, 100.0))
            yield Packets.joined(parts)

    during = outcome(world, detector, watch(detector, looks(0.0, for_s, vector), 0.0), vector, unchanged)
    rules = watch(detector, looks(for_s, after_s, None), for_s)
    return during, outcome(world, detector, rules, None, unchanged)
