"""Attacks that recur: they are mitigated sooner, and their rules last longer."""

from collections import deque
from dataclasses import dataclass

from spectrum.core.ddos.predicates import Conjunction

REMEMBERED_S = 86_400.0
MOST_REMEMBERED = 64
# How long a rule stays after few packets match it: the first time, the second, and every later time.
EXPIRIES_S = (60.0, 300.0, 1_800.0)


@dataclass(frozen=True, slots=True)
class PastAttack:
    """The attack of an ended rule.

    Attributes:
        what: Its conditions.
        times: How often it has come.
        ended: When its rule ended, in seconds since 1970.
    """

    what: Conjunction
    times: int
    ended: float


class PastAttacks:
    """The attacks of the last 24 hours, in limited number."""

    def __init__(self) -> None:
        self._past: deque[PastAttack] = deque(maxlen=MOST_REMEMBERED)

    def add(self, attack: PastAttack) -> None:
        """Add an attack."""
        self._past = deque((one for one in self._past if one.what.key != attack.what.key), MOST_REMEMBERED)
        self._past.append(attack)

    def remembered(self, at: float) -> tuple[PastAttack, ...]:
        """Return those of the last 24 hours; the clock may have been set back since."""
        return tuple(one for one in self._past if at - one.ended <= REMEMBERED_S)

    def times(self, what: Conjunction, at: float) -> int:
        """Return how often an attack has come, including this time."""
        return 1 + max((one.times for one in self.remembered(at) if one.what.key == what.key), default=0)


def expiry_s(times: int) -> float:
    """Return the time after which a rule ends that little matches, for an attack that has come this often."""
    return EXPIRIES_S[min(times, len(EXPIRIES_S)) - 1]
