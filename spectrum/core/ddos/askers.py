"""Senders of queries to an app that answers each one by itself, as DNS does: clients, or forged sources.

Such an app has no sessions that could continue. But its clients have sent queries before, or send more soon, as their
number is limited. Forged addresses are spread over the whole address space, and hardly any of them comes twice.
"""

from enum import StrEnum

import numpy as np

from spectrum.core.ddos.estimates import sources
from spectrum.core.ddos.packets import Column, Packets

# Prefixes (/16, of IPv6 /32) of random addresses, with equal frequency: there are about 57,000; of clients some
# hundreds. Fewer samples are inconclusive.
FORGED_PREFIXES, LEAST_STRANGERS = 30_000, 600
# More sources, with equal frequency, are not clients of one app; fewer repetitions are chance.
MOST_SOURCES, LEAST_REPEATED = 2_000_000.0, 3
# Clients send fewer queries, in packets per second.
MOST_PER_CLIENT = 4.0


class Askers(StrEnum):
    """The kind of senders; `unclear` until clients would have repeated their queries."""

    CLIENTS = "clients"
    OTHERS = "others"
    UNCLEAR = "unclear"


def who_asks(asked: Packets, rows: Packets, usual_per_s: float, seconds: float, *, waited: bool) -> Askers:
    """Classify the senders of packets beyond the normal rate.

    Args:
        asked: Samples of the last seconds that open a flow, or seem to.
        rows: Rows of the app's profile.
        usual_per_s: The normal packets per second.
        seconds: The time in which they were sampled.
        waited: Whether clients would have repeated their queries by now.
    """
    asked_before = (asked["known"] == 1) | np.isin(asked["source"], rows["source"])
    strangers = asked.where(~asked_before)
    each = float(asked["stands_for"].mean()) if len(asked) else 1.0
    usual = usual_per_s * unseen(rows["source"]) * seconds / each
    if len(strangers) - usual >= LEAST_STRANGERS and sources(strangers["source/16"])[0] >= FORGED_PREFIXES:
        return Askers.OTHERS
    if not waited:
        return Askers.UNCLEAR
    _, counts = np.unique(strangers["source"], return_counts=True)
    repeated = float((counts > 1).sum()) - usual / 2
    population = len(counts) + missed(counts)
    if repeated < LEAST_REPEATED or population >= MOST_SOURCES:
        return Askers.OTHERS
    per_s = float(strangers["stands_for"].sum()) / seconds
    return Askers.CLIENTS if per_s < MOST_PER_CLIENT * population else Askers.OTHERS


def are_too_many(column: Column) -> bool:
    """Return whether more sources send, with equal frequency, than an app has clients."""
    _, counts = np.unique(column, return_counts=True)
    return missed(counts) >= MOST_SOURCES


def missed(counts: Column) -> float:
    """Return a lower bound of the sources without a sample, from the numbers of those with one and two (Chao, 1984)."""
    once, twice = float((counts == 1).sum()), int((counts == 2).sum())
    return once**2 / (2 * max(twice, LEAST_REPEATED))


def unseen(column: Column) -> float:
    """Return the probability that the next row has a new value, from the share of values seen once (Good, 1953)."""
    _, counts = np.unique(column, return_counts=True)
    return float((counts == 1).sum() / max(len(column), 1))
