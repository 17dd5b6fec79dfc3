"""The life of a worker of the supervisor before this one: taken or inherited, relieved, and heard until it ends.

The table has no I/O. Who drives it (`control/processes/veterans.py`, `fleet.py`) tells what happened and carries out
the command.
"""

from enum import Enum

from spectrum.core.life.cycle import LifeCycle


class VeteranState(Enum):
    """Where it is."""

    # Nobody has spoken with it yet.
    FOUND = "found"
    # It was asked who it is.
    ASKED = "asked"
    # The supervisor before this one gives it, and hears it still: it serves, or was relieved before.
    GIVEN = "given"
    GIVEN_RELIEVED = "given relieved"
    # It serves. Its supervisor is gone: what it counts is ours.
    TAKEN = "taken"
    # It serves. What it counts before it is relieved is for the supervisor before this one.
    SERVING = "serving"
    # It is to leave its listeners and flows.
    LEAVING = "leaving"
    # It was relieved before, and is asked who it is, so that it counts anew.
    RELIEVED_ASKED = "relieved, asked"
    # It has left listeners and flows; its TCP sessions go on.
    RELIEVED = "relieved"
    # Another supervisor has it, or will.
    LEFT = "left"
    ENDED = "ended"


class VeteranEvent(Enum):
    """What happens to it."""

    TAKE = "take"
    GIVE = "give"
    GIVE_RELIEVED = "give relieved"
    # The supervisor before this one hears it no more.
    BEGIN = "begin"
    INTRODUCED = "introduced"
    INTRODUCED_RELIEVED = "introduced relieved"
    RELIEVE = "relieve"
    RELIEVED = "relieved"
    SILENT = "silent"
    DISOWN = "disown"
    LOST = "lost"


class VeteranCommand(Enum):
    """What is to be done about it."""

    NOTHING = "nothing"
    ASK = "ask who it is"
    LISTEN = "listen"
    LISTEN_AND_ASK = "listen and ask who it is"
    RELEASE = "release"
    KILL = "kill"


_S, _E, _C = VeteranState, VeteranEvent, VeteranCommand
Row = tuple[VeteranState, VeteranCommand]

# There is a channel to it, of ours or of the supervisor before this one.
LIVING = (_S.ASKED, _S.GIVEN, _S.GIVEN_RELIEVED, _S.TAKEN, _S.SERVING, _S.LEAVING, _S.RELIEVED_ASKED, _S.RELIEVED)
ENDS = (_S.LEFT, _S.ENDED)
_LIVING_ROWS: dict[VeteranEvent, Row] = {
    _E.DISOWN: (_S.LEFT, _C.NOTHING),
    _E.LOST: (_S.ENDED, _C.NOTHING),
}
_ROWS: dict[tuple[VeteranState, VeteranEvent], Row] = {
    (_S.FOUND, _E.TAKE): (_S.ASKED, _C.ASK),
    (_S.FOUND, _E.GIVE): (_S.GIVEN, _C.NOTHING),
    (_S.FOUND, _E.GIVE_RELIEVED): (_S.GIVEN_RELIEVED, _C.NOTHING),
    (_S.ASKED, _E.INTRODUCED): (_S.TAKEN, _C.NOTHING),
    (_S.ASKED, _E.INTRODUCED_RELIEVED): (_S.RELIEVED, _C.NOTHING),
    # The kernel gives it clients for as long as it is there.
    (_S.ASKED, _E.SILENT): (_S.ASKED, _C.KILL),
    (_S.GIVEN, _E.BEGIN): (_S.SERVING, _C.LISTEN),
    (_S.GIVEN_RELIEVED, _E.BEGIN): (_S.RELIEVED_ASKED, _C.LISTEN_AND_ASK),
    (_S.RELIEVED_ASKED, _E.INTRODUCED_RELIEVED): (_S.RELIEVED, _C.NOTHING),
    (_S.TAKEN, _E.RELIEVE): (_S.LEAVING, _C.RELEASE),
    (_S.SERVING, _E.RELIEVE): (_S.LEAVING, _C.RELEASE),
    (_S.LEAVING, _E.RELIEVED): (_S.RELIEVED, _C.NOTHING),
    (_S.LEAVING, _E.SILENT): (_S.LEAVING, _C.KILL),
    # It answered, or ended, in that moment.
    **{(state, _E.SILENT): (state, _C.NOTHING) for state in (_S.TAKEN, _S.RELIEVED, _S.ENDED)},
}
TABLE: dict[tuple[VeteranState, VeteranEvent], Row] = {
    **{(state, event): row for state in LIVING for event, row in _LIVING_ROWS.items()},
    **_ROWS,
}


class VeteranLife(LifeCycle[VeteranState, VeteranEvent, VeteranCommand]):
    """One worker of the supervisor before this one."""

    def __init__(self) -> None:
        super().__init__("a worker", TABLE, VeteranState.FOUND)

    @property
    def lives(self) -> bool:
        """Whether it is there, and another supervisor's it is not."""
        return self.state in LIVING

    @property
    def awaits_relief(self) -> bool:
        """Whether it serves, and has not been told to leave that to another worker."""
        return self.state in (VeteranState.GIVEN, VeteranState.TAKEN, VeteranState.SERVING)

    @property
    def counts(self) -> bool:
        """Whether what it reports is ours to count."""
        return self.state in (VeteranState.TAKEN, VeteranState.RELIEVED)
