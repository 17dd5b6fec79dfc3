"""The life cycle of a worker in its own process: serving, its supervisor, and its end. The table has no I/O. Its driver
(`plane/processes/service.py`) reports events and carries out commands. The supervisor's view of the same process is in
`worker.py`, and that of a later supervisor in `former.py`.
"""

from enum import Enum

from spectrum.core.life.cycle import LifeCycle


class ServiceState(Enum):
    """The state of a worker."""

    # It serves nothing yet.
    STARTING = "starting"
    SERVING = "serving"
    # It serves. Its supervisor is gone, and it waits for a new one.
    ORPHANED = "orphaned"
    # It serves. A new supervisor knows it, and gets its counters once it is released.
    TAKEN = "taken over"
    # It serves until the next worker has its listeners and flows.
    LEAVING = "leaving"
    # It accepts no clients. Its TCP sessions continue.
    RELEASED = "released"
    # The same. The supervisor is gone, and it waits for a new one.
    RELEASED_ORPHANED = "released, orphaned"
    # It accepts no clients. Its sessions have a time limit.
    DRAINING = "draining"
    # The same. There is no supervisor, and it waits for none.
    ALONE = "draining, without a supervisor"
    # It has no sessions. Its supervisor gets the remaining records; the daemon ends, or the worker was never released.
    ENDING = "ending"
    # It was released and has no sessions. Its supervisor, or the next one, gets the remaining records.
    ENDING_RELEASED = "released, ending"
    ENDING_ORPHANED = "released, ending, orphaned"
    ENDED = "ended"


class ServiceEvent(Enum):
    """An event of a worker."""

    # It serves a snapshot, the first or another one.
    CONFIGURED = "configured"
    LOST = "supervisor lost"
    ASKED = "asked who it is"
    RELEASE = "release"
    # The next worker has listeners and flows.
    LEFT = "left"
    DRAIN = "drain"
    # Its last session has ended, or the time limit is over.
    OVER = "sessions over"
    # All records were delivered, or nobody took them in time.
    TOLD = "told"
    # No supervisor came in time.
    ABANDONED = "abandoned"
    SIGTERM = "SIGTERM"


class ServiceCommand(Enum):
    """A command to a worker."""

    NOTHING = "nothing"
    # SIGTERM reaches a process group or control group; the supervisor decides when its workers end.
    LEAVE_TO_SUPERVISOR = "leave it to the supervisor"
    WAIT = "wait for a supervisor"
    INTRODUCE = "say who it is"
    # And report that it was released: its counters are for this supervisor from now on.
    INTRODUCE_RELEASED = "introduce itself, count again"
    INTRODUCE_AND_TELL = "say who it is, tell what is left"
    LEAVE = "leave listeners and flows"
    SAY_LEFT = "report, count again"
    DRAIN = "drain"
    TELL = "tell what is left"
    END = "end"


_S, _E, _C = ServiceState, ServiceEvent, ServiceCommand
Row = tuple[ServiceState, ServiceCommand]

ENDS = (_S.ENDED,)
# Those with a supervisor: it decides when they end.
SUPERVISED = (
    _S.STARTING,
    _S.SERVING,
    _S.TAKEN,
    _S.LEAVING,
    _S.RELEASED,
    _S.DRAINING,
    _S.ENDING,
    _S.ENDING_RELEASED,
)
# Those without one.
UNSUPERVISED = (_S.ORPHANED, _S.RELEASED_ORPHANED, _S.ALONE, _S.ENDING_ORPHANED)
# Those that wait for one.
WAITING = (_S.ORPHANED, _S.RELEASED_ORPHANED, _S.ENDING_ORPHANED)

_ROWS: dict[tuple[ServiceState, ServiceEvent], Row] = {
    (_S.STARTING, _E.CONFIGURED): (_S.SERVING, _C.NOTHING),
    **{(_S.STARTING, event): (_S.ENDED, _C.END) for event in (_E.LOST, _E.DRAIN, _E.RELEASE)},
    (_S.SERVING, _E.LOST): (_S.ORPHANED, _C.WAIT),
    (_S.TAKEN, _E.LOST): (_S.ORPHANED, _C.WAIT),
    # A supervisor that connected did not take it over.
    (_S.ORPHANED, _E.LOST): (_S.ORPHANED, _C.WAIT),
    (_S.ORPHANED, _E.ASKED): (_S.TAKEN, _C.INTRODUCE),
    (_S.ORPHANED, _E.ABANDONED): (_S.ALONE, _C.DRAIN),
    # Of a supervisor that is gone, or that handed over its end of the channel.
    (_S.TAKEN, _E.RELEASE): (_S.LEAVING, _C.LEAVE),
    (_S.SERVING, _E.RELEASE): (_S.LEAVING, _C.LEAVE),
    (_S.LEAVING, _E.LEFT): (_S.RELEASED, _C.SAY_LEFT),
    # The hand-over continues.
    (_S.LEAVING, _E.LOST): (_S.RELEASED_ORPHANED, _C.WAIT),
    (_S.LEAVING, _E.ASKED): (_S.RELEASED, _C.INTRODUCE_RELEASED),
    (_S.RELEASED, _E.LOST): (_S.RELEASED_ORPHANED, _C.WAIT),
    (_S.RELEASED, _E.ASKED): (_S.RELEASED, _C.INTRODUCE_RELEASED),
    (_S.RELEASED, _E.OVER): (_S.ENDING_RELEASED, _C.TELL),
    (_S.RELEASED_ORPHANED, _E.LOST): (_S.RELEASED_ORPHANED, _C.WAIT),
    (_S.RELEASED_ORPHANED, _E.ASKED): (_S.RELEASED, _C.INTRODUCE_RELEASED),
    (_S.RELEASED_ORPHANED, _E.OVER): (_S.ENDING_ORPHANED, _C.TELL),
    (_S.RELEASED_ORPHANED, _E.ABANDONED): (_S.ALONE, _C.DRAIN),
    **{(state, _E.DRAIN): (_S.DRAINING, _C.DRAIN) for state in (_S.SERVING, _S.TAKEN, _S.LEAVING, _S.RELEASED)},
    # A shorter time.
    (_S.DRAINING, _E.DRAIN): (_S.DRAINING, _C.DRAIN),
    (_S.DRAINING, _E.LOST): (_S.ALONE, _C.NOTHING),
    # Its flows continue in the next worker, if there is one.
    (_S.DRAINING, _E.RELEASE): (_S.DRAINING, _C.LEAVE),
    (_S.DRAINING, _E.LEFT): (_S.DRAINING, _C.SAY_LEFT),
    (_S.DRAINING, _E.OVER): (_S.ENDING, _C.TELL),
    (_S.ALONE, _E.OVER): (_S.ENDED, _C.END),
    (_S.ENDING, _E.LOST): (_S.ENDED, _C.END),
    (_S.ENDING, _E.TOLD): (_S.ENDED, _C.END),
    (_S.ENDING_RELEASED, _E.LOST): (_S.ENDING_ORPHANED, _C.TELL),
    (_S.ENDING_RELEASED, _E.ASKED): (_S.ENDING_RELEASED, _C.INTRODUCE_AND_TELL),
    (_S.ENDING_RELEASED, _E.TOLD): (_S.ENDED, _C.END),
    (_S.ENDING_ORPHANED, _E.LOST): (_S.ENDING_ORPHANED, _C.TELL),
    (_S.ENDING_ORPHANED, _E.ASKED): (_S.ENDING_RELEASED, _C.INTRODUCE_AND_TELL),
    (_S.ENDING_ORPHANED, _E.TOLD): (_S.ENDED, _C.END),
    (_S.ENDING_ORPHANED, _E.ABANDONED): (_S.ENDED, _C.END),
}
# Events without effect: they were on their way when something else began.
_STAYS: dict[ServiceState, tuple[ServiceEvent, ...]] = {
    _S.SERVING: (_E.CONFIGURED,),
    _S.RELEASED: (_E.LEFT,),
    _S.RELEASED_ORPHANED: (_E.LEFT,),
    _S.DRAINING: (_E.ASKED,),
    _S.ALONE: (_E.LEFT,),
    _S.ENDING: (_E.DRAIN, _E.RELEASE, _E.LEFT, _E.ASKED),
    _S.ENDING_RELEASED: (_E.DRAIN, _E.LEFT),
    _S.ENDING_ORPHANED: (_E.LEFT,),
    _S.ENDED: tuple(event for event in _E if event is not _E.CONFIGURED),
}

TABLE: dict[tuple[ServiceState, ServiceEvent], Row] = {
    **{(state, _E.SIGTERM): (state, _C.LEAVE_TO_SUPERVISOR) for state in SUPERVISED},
    **{(state, _E.SIGTERM): (_S.ENDED, _C.END) for state in UNSUPERVISED},
    **{(state, event): (state, _C.NOTHING) for state, events in _STAYS.items() for event in events},
    **_ROWS,
}


class ServiceLife(LifeCycle[ServiceState, ServiceEvent, ServiceCommand]):
    """The life cycle of a worker."""

    def __init__(self) -> None:
        super().__init__("a worker", TABLE, ServiceState.STARTING)

    @property
    def takes_snapshots(self) -> bool:
        """Whether it accepts snapshots."""
        return (self.state, ServiceEvent.CONFIGURED) in TABLE

    @property
    def has_served(self) -> bool:
        """Whether it has served a snapshot."""
        return self.state is not ServiceState.STARTING

    @property
    def is_heard(self) -> bool:
        """Whether its counters and records are for the current supervisor."""
        return self.state in _HEARD

    @property
    def is_supervised(self) -> bool:
        """Whether it has a supervisor."""
        return self.state in SUPERVISED

    @property
    def waits(self) -> bool:
        """Whether it waits for a supervisor."""
        return self.state in WAITING

    @property
    def is_ending(self) -> bool:
        """Whether it only waits for its last records to be taken."""
        return self.state in (ServiceState.ENDING, ServiceState.ENDING_RELEASED, ServiceState.ENDING_ORPHANED)

    @property
    def ended(self) -> bool:
        """Whether all is done."""
        return self.state in ENDS


_HEARD = (_S.SERVING, _S.RELEASED, _S.DRAINING, _S.ENDING, _S.ENDING_RELEASED)
