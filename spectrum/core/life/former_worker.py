"""The life cycle of a worker of the previous supervisor: taken over or inherited, relieved, and connected until it
ends. The table has no I/O. Its driver (`control/processes/former_workers.py`, `fleet.py`) reports events and executes
commands.
"""

from enum import Enum

from spectrum.core.life.cycle import LifeCycle


class FormerWorkerState(Enum):
    """The state of such a worker."""

    # It has not been contacted yet.
    FOUND = "found"
    # Its identity was requested.
    ASKED = "asked"
    # The previous supervisor hands it over, and still receives its messages: it serves, or was relieved before.
    GIVEN = "given"
    GIVEN_RELIEVED = "given relieved"
    # It serves. Its supervisor is gone: its counters are for this one.
    TAKEN = "taken"
    # It serves. Its counters are for the previous supervisor until it is relieved.
    SERVING = "serving"
    # It was told to leave its listeners and flows.
    LEAVING = "leaving"
    # It was relieved before, and its identity is requested, so that it restarts its counters.
    RELIEVED_ASKED = "relieved, asked"
    # It has left listeners and flows; its TCP sessions continue.
    RELIEVED = "relieved"
    # Another supervisor has it, or will have it.
    LEFT = "left"
    ENDED = "ended"


class FormerWorkerEvent(Enum):
    """What happens to it."""

    TAKE = "take"
    GIVE = "give"
    GIVE_RELIEVED = "give relieved"
    # The previous supervisor no longer receives its messages.
    BEGIN = "begin"
    INTRODUCED = "introduced"
    INTRODUCED_RELIEVED = "introduced relieved"
    RELIEVE = "relieve"
    RELIEVED = "relieved"
    SILENT = "silent"
    DISOWN = "disown"
    LOST = "lost"


class FormerWorkerCommand(Enum):
    """A command about it."""

    NOTHING = "nothing"
    ASK = "ask who it is"
    LISTEN = "listen"
    LISTEN_AND_ASK = "listen and ask who it is"
    RELEASE = "release"
    KILL = "kill"


_S, _E, _C = FormerWorkerState, FormerWorkerEvent, FormerWorkerCommand
Row = tuple[FormerWorkerState, FormerWorkerCommand]

# There is a channel to it, of this or of the previous supervisor.
LIVING = (_S.ASKED, _S.GIVEN, _S.GIVEN_RELIEVED, _S.TAKEN, _S.SERVING, _S.LEAVING, _S.RELIEVED_ASKED, _S.RELIEVED)
ENDS = (_S.LEFT, _S.ENDED)
_LIVING_ROWS: dict[FormerWorkerEvent, Row] = {
    _E.DISOWN: (_S.LEFT, _C.NOTHING),
    _E.LOST: (_S.ENDED, _C.NOTHING),
}
_ROWS: dict[tuple[FormerWorkerState, FormerWorkerEvent], Row] = {
    (_S.FOUND, _E.TAKE): (_S.ASKED, _C.ASK),
    (_S.FOUND, _E.GIVE): (_S.GIVEN, _C.NOTHING),
    (_S.FOUND, _E.GIVE_RELIEVED): (_S.GIVEN_RELIEVED, _C.NOTHING),
    (_S.ASKED, _E.INTRODUCED): (_S.TAKEN, _C.NOTHING),
    (_S.ASKED, _E.INTRODUCED_RELIEVED): (_S.RELIEVED, _C.NOTHING),
    # The kernel gives it clients as long as it exists.
    (_S.ASKED, _E.SILENT): (_S.ASKED, _C.KILL),
    (_S.GIVEN, _E.BEGIN): (_S.SERVING, _C.LISTEN),
    (_S.GIVEN_RELIEVED, _E.BEGIN): (_S.RELIEVED_ASKED, _C.LISTEN_AND_ASK),
    (_S.RELIEVED_ASKED, _E.INTRODUCED_RELIEVED): (_S.RELIEVED, _C.NOTHING),
    (_S.TAKEN, _E.RELIEVE): (_S.LEAVING, _C.RELEASE),
    (_S.SERVING, _E.RELIEVE): (_S.LEAVING, _C.RELEASE),
    (_S.LEAVING, _E.RELIEVED): (_S.RELIEVED, _C.NOTHING),
    (_S.LEAVING, _E.SILENT): (_S.LEAVING, _C.KILL),
    # It answered, or ended, at that moment.
    **{(state, _E.SILENT): (state, _C.NOTHING) for state in (_S.TAKEN, _S.RELIEVED, _S.ENDED)},
}
TABLE: dict[tuple[FormerWorkerState, FormerWorkerEvent], Row] = {
    **{(state, event): row for state in LIVING for event, row in _LIVING_ROWS.items()},
    **_ROWS,
}


class FormerWorkerLife(LifeCycle[FormerWorkerState, FormerWorkerEvent, FormerWorkerCommand]):
    """One worker of the previous supervisor."""

    def __init__(self) -> None:
        super().__init__("a worker", TABLE, FormerWorkerState.FOUND)

    @property
    def lives(self) -> bool:
        """Whether it exists, and belongs to no other supervisor."""
        return self.state in LIVING

    @property
    def awaits_relief(self) -> bool:
        """Whether it serves, and has not been told to hand over to another worker."""
        return self.state in (FormerWorkerState.GIVEN, FormerWorkerState.TAKEN, FormerWorkerState.SERVING)

    @property
    def counts(self) -> bool:
        """Whether its reports count for this supervisor."""
        return self.state in (FormerWorkerState.TAKEN, FormerWorkerState.RELIEVED)
