"""The life cycle of an attack: it is detected, mitigated or not, it fades, and it ends. The table has no I/O. Its
driver (`core/ddos/attacks.py`) carries out the commands.
"""

from enum import Enum

from spectrum.core.life.cycle import LifeCycle


class AttackState(Enum):
    """The state of an attack."""

    SEEN = "seen"
    # Its rules drop, limit or challenge packets.
    MITIGATED = "mitigated"
    # Its rules only count.
    LOGGED = "logged"
    # No rule could be written without hitting normal traffic.
    LEFT_ALONE = "left_alone"
    # Few packets match its rules, which are still in force.
    FADING = "fading"
    ENDED = "ended"


class AttackChange(Enum):
    """An event of an attack."""

    RULED = "rule acts"
    LOGGED = "rules only log"
    TOLERATED = "no rule"
    QUIETED = "quiet"
    OVER = "over"


class AttackCommand(Enum):
    """A report about an attack."""

    BEGIN = "tell its begin"
    CHANGE = "tell the change"
    END = "tell its end"
    NOTHING = "nothing"


_S, _E, _C = AttackState, AttackChange, AttackCommand
TABLE: dict[tuple[AttackState, AttackChange], tuple[AttackState, AttackCommand]] = {
    (_S.SEEN, _E.RULED): (_S.MITIGATED, _C.BEGIN),
    (_S.SEEN, _E.LOGGED): (_S.LOGGED, _C.BEGIN),
    (_S.SEEN, _E.TOLERATED): (_S.LEFT_ALONE, _C.BEGIN),
    (_S.MITIGATED, _E.RULED): (_S.MITIGATED, _C.CHANGE),
    (_S.MITIGATED, _E.LOGGED): (_S.LOGGED, _C.CHANGE),
    (_S.MITIGATED, _E.TOLERATED): (_S.MITIGATED, _C.NOTHING),
    (_S.MITIGATED, _E.QUIETED): (_S.FADING, _C.CHANGE),
    (_S.LOGGED, _E.RULED): (_S.MITIGATED, _C.CHANGE),
    (_S.LOGGED, _E.LOGGED): (_S.LOGGED, _C.CHANGE),
    (_S.LOGGED, _E.TOLERATED): (_S.LOGGED, _C.NOTHING),
    (_S.LOGGED, _E.QUIETED): (_S.FADING, _C.CHANGE),
    (_S.LEFT_ALONE, _E.RULED): (_S.MITIGATED, _C.CHANGE),
    (_S.LEFT_ALONE, _E.LOGGED): (_S.LOGGED, _C.CHANGE),
    (_S.LEFT_ALONE, _E.TOLERATED): (_S.LEFT_ALONE, _C.NOTHING),
    (_S.LEFT_ALONE, _E.QUIETED): (_S.FADING, _C.CHANGE),
    (_S.FADING, _E.RULED): (_S.MITIGATED, _C.CHANGE),
    (_S.FADING, _E.LOGGED): (_S.LOGGED, _C.CHANGE),
    (_S.FADING, _E.TOLERATED): (_S.LEFT_ALONE, _C.CHANGE),
    (_S.FADING, _E.QUIETED): (_S.FADING, _C.NOTHING),
    (_S.MITIGATED, _E.OVER): (_S.ENDED, _C.END),
    (_S.LOGGED, _E.OVER): (_S.ENDED, _C.END),
    (_S.LEFT_ALONE, _E.OVER): (_S.ENDED, _C.END),
    (_S.FADING, _E.OVER): (_S.ENDED, _C.END),
}


class AttackLife(LifeCycle[AttackState, AttackChange, AttackCommand]):
    """The life of one attack.

    Args:
        state: Its state; not the first one for an attack that another process detected.
    """

    def __init__(self, state: AttackState = AttackState.SEEN) -> None:
        super().__init__("an attack", TABLE, state)
