"""The action for a fingerprint: drop, limit, challenge, or none if it may be a crowd."""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf

import numpy as np
from numpy.typing import NDArray

from spectrum.core.ddos.askers import Askers
from spectrum.core.ddos.estimates import sources
from spectrum.core.ddos.mining import Fingerprint
from spectrum.core.ddos.overrides import Ruling
from spectrum.core.ddos.packets import NO_APP, OPENING, Packets
from spectrum.core.packets import PROTOCOLS, TCP_FLAGS

LEAST_LIFT = 3.0
FEW_SOURCES, LEAST_PAIRS, LEAST_PER_SOURCE = 50_000, 3, 8.0
PER_SOURCE = 4.0
# A limit per source allows the busiest sources this multiple of their usual rate.
SHARED = 3.0
# A crowd's ratio of completed handshakes, and of packets of sessions in use, to openings.
CROWD_SHAKEN, CROWD_IN_USE = 0.3, 1.5
# The same at the begin of a possible crowd: forged sources complete no handshake.
MAYBE_SHAKEN = 0.1
CROWD_KNOWN, CROWD_LEAST_KNOWN = 0.5, 0.3


class Action(StrEnum):
    """The action on packets that match.

    `retry` drops the first packet of a source, and passes its retransmission; `log` passes all, and counts them.
    """

    BLOCK = "block"
    SOURCE_LIMIT = "source-limit"
    COOKIE = "cookie"
    RETRY = "retry"
    LIMIT = "limit"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class AppExcess:
    """The traffic of an app beyond normal that no rule matches, from the sources of a fingerprint.

    Attributes:
        by_state: Packets per second beyond normal, by state of flow.
        normal: The app's normal packets per second, by state of flow.
        known: The share of known sources in the excess without a flow in use.
        usually_known: Their share in normal traffic.
        sees_use: Whether packets of flows in use are sampled: workers do not get those that the kernel forwards.
        waited: Whether the first sources have had time to continue.
        opened: Openings beyond normal a second earlier, per second: these have had time to continue.
        askers: The senders of queries, for an app without sessions.
    """

    by_state: NDArray[np.float64]
    normal: NDArray[np.float64]
    known: float
    usually_known: float
    sees_use: bool = True
    waited: bool = True
    opened: float = inf
    askers: Askers = Askers.OTHERS

    @property
    def has_sessions(self) -> bool:
        """Whether flows usually continue; otherwise each query is answered by itself, as by DNS."""
        opening, shaken, in_use = self.normal
        return bool(shaken >= CROWD_SHAKEN * opening or in_use >= CROWD_IN_USE * opening)

    @property
    def is_unclear(self) -> bool:
        """Whether it is too early to decide if it is a crowd."""
        if self.is_crowd or not self.has_sessions:
            return not self.is_crowd and self.askers is Askers.UNCLEAR
        opening, shaken, _ = self.by_state
        return not self.waited and bool(shaken >= MAYBE_SHAKEN * opening)

    @property
    def is_crowd(self) -> bool:
        """Whether more people come: they complete handshakes, and continue; without sessions, they are known."""
        opening, shaken, in_use = self.by_state
        if opening <= 0:
            return True
        if not self.has_sessions:
            is_known = self.known >= max(CROWD_KNOWN * self.usually_known, CROWD_LEAST_KNOWN)
            return is_known or self.askers is Askers.CLIENTS
        opened = min(opening, self.opened) if self.waited else opening
        goes_on = in_use >= CROWD_IN_USE * opened or not self.sees_use
        return bool(shaken >= CROWD_SHAKEN * opened and goes_on)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision.

    Attributes:
        action: The action; None for none, for the reason `why`.
        waits: Whether it is too early for one.
        per_s: The packets per second of a limit: of each source for `source-limit`, of all for `limit`.
        why: The reason as text.
    """

    action: Action | None
    per_s: float = 0.0
    why: str = ""
    waits: bool = False


_CROWD = "new sources continue as clients do: a crowd"
_UNCLEAR = Judgement(None, why="new sources have had no time to continue", waits=True)


def judge(
    fingerprint: Fingerprint, samples: Packets, excess: AppExcess | None, usual_per_source: float = 0.0
) -> Judgement:
    """Decide on a fingerprint.

    Args:
        fingerprint: The fingerprint.
        samples: Its samples.
        excess: That of the app with most of its packets; None without an app.
        usual_per_source: Packets per second of that app's busiest sources: addresses with many clients.
    """
    share = 100 * float(fingerprint.hits.max(initial=0.0))
    is_served = float((samples["served"] == 1).mean()) > 0.5
    if fingerprint.is_clean:
        why = f"at most {share:.2g} % of the openings of any app match"
        are_known = is_served and float((samples["known"] == 1).mean()) >= CROWD_LEAST_KNOWN
        if is_served and excess is not None and (crowd := _new_crowd(fingerprint, excess, are_known)):
            return crowd
        if not is_served or not (fingerprint.what.excludes or are_known):
            return Judgement(Action.BLOCK, why=why)
        # Upgraded clients also send packets that the profile has never seen.
        return spared(fingerprint, samples, usual_per_source, f"{why}, but new clients may send it")
    if fingerprint.excess < LEAST_LIFT * fingerprint.normal:
        return Judgement(None, why=f"it looks as normal packets do, and is less than {LEAST_LIFT:g} times as much")
    if excess is not None and excess.is_crowd:
        return Judgement(None, why=_CROWD)
    if excess is not None and excess.is_unclear:
        return _UNCLEAR
    if is_served or _few(fingerprint, samples):
        return spared(fingerprint, samples, usual_per_source, f"{share:.2g} % of an app's openings match")
    return Judgement(
        Action.LIMIT,
        2 * fingerprint.normal,
        "neither its properties nor its sources distinguish it from normal traffic",
    )


def _new_crowd(fingerprint: Fingerprint, excess: AppExcess, are_known: bool) -> Judgement | None:
    """Decide where a crowd may send packets that the profile has not seen: from new places, or for a new name."""
    if are_known and excess.is_crowd:  # behind addresses that the profile has not seen
        return Judgement(None, why="known sources send it: a crowd")
    if fingerprint.what.excludes or (excess.has_sessions and not fingerprint.what.sources.predicates):
        return None
    if excess.is_crowd if excess.has_sessions else excess.askers is Askers.CLIENTS:
        return Judgement(None, why=_CROWD)
    return _UNCLEAR if excess.is_unclear else None


def spared(fingerprint: Fingerprint, samples: Packets, usual_per_source: float, why: str) -> Judgement:
    """Return the action on packets some of which clients may have sent."""
    if _few(fingerprint, samples):
        estimate, _ = sources(samples["source"])
        # Clients behind one address are spared, if that leaves a limit at all.
        shared = min(SHARED * usual_per_source, fingerprint.excess / estimate / 2)
        return Judgement(Action.SOURCE_LIMIT, max(PER_SOURCE, shared), f"about {estimate:,.0f} sources send it")
    if _opens(samples):
        return Judgement(Action.COOKIE, why="SYNs to where an app listens, from too many sources to count")
    return Judgement(Action.RETRY, why=f"{why}, from too many sources to count")


def _few(fingerprint: Fingerprint, samples: Packets) -> bool:
    estimate, pairs = sources(samples["source"])
    return estimate < FEW_SOURCES and pairs >= LEAST_PAIRS and fingerprint.excess / estimate >= LEAST_PER_SOURCE


def of_connections(judged: Judgement, fingerprint: Fingerprint, samples: Packets) -> Judgement:
    """Decide on connections that a worker has accepted, with samples of packets.

    Their clients have completed the handshake: a cookie or a retransmission would prove nothing more.
    """
    if not len(samples) or float((samples["protocol"] == PROTOCOLS["tcp"]).mean()) <= 0.5:
        return judged
    weights = samples["stands_for"]
    opening = float(weights[samples["state"] == OPENING].sum()) / max(float(weights.sum()), 1.0)
    match judged.action:
        case Action.COOKIE | Action.RETRY:
            why = f"{judged.why}; the handshakes are complete"
            return Judgement(Action.LIMIT, max(2 * fingerprint.normal * opening, PER_SOURCE), why)
        case Action.LIMIT | Action.SOURCE_LIMIT:
            return replace(judged, per_s=max(judged.per_s * opening, 1.0))
    return judged


def overruled(judged: Judgement, ruling: Ruling, normal: float) -> Judgement:
    """Return the action after the managed rule and its overrides.

    Args:
        judged: The best action; not None.
        ruling: Their settings.
        normal: Normal packets per second that match.
    """
    said = f"override {ruling.override}" if ruling.override else "its managed rule"
    assert judged.action is not None, "nobody orders to drop a crowd"
    match ruling.action:
        case "block" if judged.action is not Action.BLOCK:
            return Judgement(Action.BLOCK, why=f"by {said}; otherwise {judged.action}, as {judged.why}")
        case "log":
            return Judgement(Action.LOG, why=f"by {said}; otherwise {judged.action}, as {judged.why}")
        case "rate-limit" if judged.action is Action.BLOCK:
            per_s = max(2 * normal, 1.0)
            return Judgement(Action.LIMIT, per_s, f"by {said}; otherwise {judged.action}, as {judged.why}")
    return judged


def app_of(samples: Packets) -> int:
    """Return the number of the app that most samples are for."""
    if not len(samples):
        return NO_APP
    apps, counts = np.unique(samples["app"], return_counts=True)
    return int(apps[np.argmax(counts)])


def _opens(samples: Packets) -> bool:
    flags = samples["tcp_flags"]
    opening = (samples["protocol"] == PROTOCOLS["tcp"]) & (
        (flags & (TCP_FLAGS["syn"] | TCP_FLAGS["ack"])) == TCP_FLAGS["syn"]
    )
    return bool((opening & (samples["served"] == 1)).mean() > 0.5)
