"""How well floods are found, and what that costs normal traffic."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from random import Random
from time import process_time

import numpy as np

from spectrum.core.ddos.detector import LEARNED_LATER, SUB_WINDOW_S, Detector, FloodRule, RuleWritten
from spectrum.core.ddos.judging import Action
from spectrum.core.ddos.packets import IN_USE, SHAKEN, Packets
from spectrum.core.ddos.profile import Profile
from spectrum.simulation.normal import RATE, World, crowd, normal
from spectrum.simulation.vectors import flood

# A minute, and what is learned a second later.
LEARN_LOOKS = 240 + LEARNED_LATER
# A profile has a day's packets; a minute, sampled more densely, has as many.
LEARN_ONE_IN = 20.0
FOUND_SHARE = 0.9
DEADLINE_S = 3.0
SETTLE_S = 0.75


@dataclass(frozen=True)
class Score:
    """What a run came to.

    Attributes:
        found_s: Seconds from the first packet until rules match nine tenths; None where they do not within 3 s.
        matched: Which part of fresh attack packets rules match.
        loss: Which part of fresh normal packets is dropped.
        openings: The greatest part of one app's openings that is dropped, of known and of new clients.
        in_use: Which part of packets of flows in use is dropped.
        rules: Those at the end.
        cpu_s: Processor time of detection, per second of traffic.
    """

    found_s: float | None
    matched: float
    loss: float
    openings: tuple[float, float]
    in_use: float
    rules: tuple[FloodRule, ...]
    cpu_s: float


def learned(seed: int) -> tuple[World, Detector]:
    """Return a world, and a detector that has seen a minute of it."""
    world, detector = _learned(seed)
    return deepcopy(world), deepcopy(detector)


@cache
def _learned(seed: int) -> tuple[World, Detector]:
    world = World(seed)
    detector = Detector(Profile(seed, settle_s=0))
    for number in range(LEARN_LOOKS):
        events = detector.look(normal(world, SUB_WINDOW_S, LEARN_ONE_IN), SUB_WINDOW_S, number * SUB_WINDOW_S)
        assert not [one for one in events if isinstance(one, RuleWritten)], "a rule for normal traffic"
    return world, detector


def dropped(rules: Sequence[FloodRule], packets: Packets, seconds: float, spoofed: bool) -> np.ndarray:
    """Return what becomes of each packet: the chance that it is dropped."""
    chance = np.zeros(len(packets))
    idle = packets["state"] != IN_USE
    for rule in rules:
        match = rule.what.match(packets) & idle
        rate = float(packets["stands_for"][match].sum()) / seconds
        match rule.action:
            case Action.BLOCK:
                chance[match] = 1.0
            case Action.COOKIE | Action.RETRY:
                chance[match] = np.maximum(chance[match], 1.0 if spoofed else 0.0)
            case Action.LIMIT:
                chance[match] = np.maximum(chance[match], max(0.0, 1 - rule.judgement.per_s / max(rate, 1e-9)))
            case Action.SOURCE_LIMIT:
                _, inverse, counts = np.unique(packets["source"][match], return_inverse=True, return_counts=True)
                each = counts[inverse] * packets["stands_for"][match] / seconds
                chance[match] = np.maximum(chance[match], 1 - np.minimum(1.0, rule.judgement.per_s / each))
    return chance


def run(vector: str, times: float, one_in: float, seed: int) -> Score:
    """Return the score of a flood of so many times normal traffic, of which one packet in so many is sampled."""
    world, detector = learned(seed)
    begin = Random(seed).random() * SUB_WINDOW_S  # within a sub-window
    packets_per_s = times * RATE
    found, cpu, now = None, 0.0, LEARN_LOOKS * SUB_WINDOW_S
    for number in range(int((DEADLINE_S + SETTLE_S) / SUB_WINDOW_S)):
        share = 1.0 if number else 1 - begin / SUB_WINDOW_S
        parts = [normal(world, SUB_WINDOW_S, one_in), flood(world, vector, packets_per_s, share * SUB_WINDOW_S, one_in)]
        now += SUB_WINDOW_S
        began = process_time()
        detector.look(Packets.joined(parts), SUB_WINDOW_S, now)
        cpu += process_time() - began
        after = (number + 1) * SUB_WINDOW_S - begin
        if found is None and after <= DEADLINE_S:
            fresh = flood(world, vector, 4_000, 1.0, 1.0)
            if matched_by(detector.rules, fresh) >= FOUND_SHARE:
                found = after
        if found is not None and after >= found + SETTLE_S:
            break
    return _scored(world, detector.rules, vector, found, cpu / after)


def matched_by(rules: Sequence[FloodRule], packets: Packets) -> float:
    """Return which part of packets the rules match."""
    matched = np.zeros(len(packets), bool)
    for rule in rules:
        matched |= rule.what.match(packets)
    return float((matched & (packets["state"] != IN_USE)).mean())


def _scored(world: World, rules: Sequence[FloodRule], vector: str, found: float | None, cpu: float) -> Score:
    fresh = normal(world, 1.0, 1.0)
    lost = dropped(rules, fresh, 1.0, spoofed=False)
    known, new = _openings(fresh, lost, 1), _openings(fresh, lost, 0)
    matched = matched_by(rules, flood(world, vector, 4_000, 1.0, 1.0))
    return Score(
        found,
        matched,
        float(lost.mean()),
        (known, new),
        float(lost[fresh["state"] == IN_USE].mean()),
        tuple(rules),
        cpu,
    )


def _openings(packets: Packets, lost: np.ndarray, known: int) -> float:
    worst = 0.0
    for app in np.unique(packets["app"]):
        own = (packets["app"] == app) & (packets["known"] == known) & (packets["state"] <= SHAKEN) & (app >= 0)
        if own.sum() >= 10:
            worst = max(worst, float(lost[own].mean()))
    return worst


def run_crowd(name: str, size: float, one_in: float, seed: int, seconds: float = 5.0) -> tuple[FloodRule, ...]:
    """Return the rules that a crowd caused: there should be none."""
    world, detector = learned(seed)
    now = LEARN_LOOKS * SUB_WINDOW_S
    for number in range(int(seconds / SUB_WINDOW_S)):
        after = number * SUB_WINDOW_S
        parts = [normal(world, SUB_WINDOW_S, one_in), crowd(world, name, size, after, SUB_WINDOW_S, one_in)]
        detector.look(Packets.joined(parts), SUB_WINDOW_S, now + after)
    return tuple(detector.rules)
