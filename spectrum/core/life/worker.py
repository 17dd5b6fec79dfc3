"""The life cycle of a worker in its supervisor: what it was sent, its answers, and its end. The table has no I/O. Its
driver (`control/processes/workers.py`, `fleet.py`) reports events and carries out commands. The driver also measures
silence, and reports when a limit is passed.
"""

from enum import Enum

from spectrum.core.life.cycle import LifeCycle


class WorkerState(Enum):
    """The state of a worker."""

    # Its process runs; no message has been exchanged.
    STARTING = "starting"
    # It runs, and waits for its first snapshot. It sends nothing, so its silence means nothing.
    IDLE = "idle"
    # It owes an answer to the last snapshot. It may serve the former one.
    TOLD = "told"
    # It owes an answer, and gets another snapshot after that.
    BEHIND = "behind"
    # It owes no answer, and gets another snapshot.
    LATE = "late"
    SERVING = "serving"
    # It could serve neither the last snapshot nor the former one.
    UNABLE = "unable"
    DRAINING = "draining"
    # It was killed, and is not gone yet.
    KILLED = "killed"
    # Its channel is closed: it ends, or has ended.
    LOST = "lost"
    # Another supervisor has it.
    LEFT = "left"
    ENDED = "ended"


class WorkerEvent(Enum):
    """What happens to it."""

    STARTED = "started"
    TOLD = "told"
    # A snapshot could not be sent.
    DEFERRED = "deferred"
    SERVES = "serves"
    SERVES_NOTHING = "serves nothing"
    # Checks of it, by how long it has been silent.
    LOOK = "look"
    SILENT = "silent"
    HUNG = "hung"
    DRAIN = "drain"
    KILL = "kill"
    LEAVE = "leave"
    LOST = "lost"
    EXITED = "exited"


class WorkerCommand(Enum):
    """A command about it."""

    NOTHING = "nothing"
    # Send what is served now.
    TELL = "tell"
    WARN = "warn"
    DRAIN = "drain"
    KILL = "kill"
    LEAVE = "leave"


_S, _E, _C = WorkerState, WorkerEvent, WorkerCommand
Row = tuple[WorkerState, WorkerCommand]

# It runs, and is not about to end.
LIVING = (_S.STARTING, _S.IDLE, _S.TOLD, _S.BEHIND, _S.LATE, _S.SERVING, _S.UNABLE)
ENDS = (_S.ENDED,)
# For each running worker.
_LIVING_ROWS: dict[WorkerEvent, Row] = {
    _E.DRAIN: (_S.DRAINING, _C.DRAIN),
    _E.KILL: (_S.KILLED, _C.KILL),
    _E.LEAVE: (_S.LEFT, _C.LEAVE),
    _E.LOST: (_S.LOST, _C.NOTHING),
    _E.EXITED: (_S.ENDED, _C.NOTHING),
}
# For workers that send reports.
HEARD = tuple(state for state in LIVING if state is not _S.IDLE)
_HEARD_ROWS: dict[WorkerEvent, Row] = {_E.HUNG: (_S.KILLED, _C.KILL)}
_ROWS: dict[tuple[WorkerState, WorkerEvent], Row] = {
    (_S.STARTING, _E.STARTED): (_S.IDLE, _C.NOTHING),
    (_S.STARTING, _E.TOLD): (_S.TOLD, _C.NOTHING),
    (_S.IDLE, _E.TOLD): (_S.TOLD, _C.NOTHING),
    (_S.TOLD, _E.SERVES): (_S.SERVING, _C.NOTHING),
    (_S.TOLD, _E.SERVES_NOTHING): (_S.UNABLE, _C.NOTHING),
    (_S.TOLD, _E.DEFERRED): (_S.BEHIND, _C.NOTHING),
    (_S.BEHIND, _E.SERVES): (_S.LATE, _C.TELL),
    (_S.BEHIND, _E.SERVES_NOTHING): (_S.LATE, _C.TELL),
    (_S.LATE, _E.LOOK): (_S.LATE, _C.TELL),
    (_S.LATE, _E.TOLD): (_S.TOLD, _C.NOTHING),
    (_S.SERVING, _E.TOLD): (_S.TOLD, _C.NOTHING),
    (_S.SERVING, _E.DEFERRED): (_S.LATE, _C.NOTHING),
    (_S.UNABLE, _E.TOLD): (_S.TOLD, _C.NOTHING),
    (_S.UNABLE, _E.DEFERRED): (_S.LATE, _C.NOTHING),
    # A shorter time.
    (_S.DRAINING, _E.DRAIN): (_S.DRAINING, _C.DRAIN),
    (_S.DRAINING, _E.KILL): (_S.KILLED, _C.KILL),
    (_S.DRAINING, _E.LOST): (_S.LOST, _C.NOTHING),
    (_S.LOST, _E.KILL): (_S.KILLED, _C.KILL),
    # Again, if the first time had no effect.
    (_S.KILLED, _E.KILL): (_S.KILLED, _C.KILL),
    **{(state, _E.EXITED): (_S.ENDED, _C.NOTHING) for state in (_S.DRAINING, _S.KILLED, _S.LOST, _S.LEFT)},
}
# Events without effect: a worker may send them, or be asked for them, after something else has begun.
_WHAT_IT_SAYS = (_E.STARTED, _E.SERVES, _E.SERVES_NOTHING)
_STAYS: dict[WorkerState, tuple[WorkerEvent, ...]] = {
    _S.STARTING: (_E.LOOK, _E.DEFERRED),
    # It is sent when it has what it waits for.
    _S.IDLE: (_E.LOOK, _E.DEFERRED),
    _S.TOLD: (_E.LOOK, _E.STARTED),
    _S.BEHIND: (_E.LOOK, _E.STARTED, _E.DEFERRED),
    _S.LATE: (_E.DEFERRED,),
    _S.SERVING: (_E.LOOK,),
    _S.UNABLE: (_E.LOOK,),
    _S.DRAINING: (*_WHAT_IT_SAYS, _E.DEFERRED),
    _S.KILLED: (*_WHAT_IT_SAYS, _E.DEFERRED, _E.DRAIN, _E.LEAVE, _E.LOST),
    _S.LOST: (_E.DEFERRED, _E.DRAIN, _E.LEAVE),
    _S.LEFT: (*_WHAT_IT_SAYS, _E.DEFERRED, _E.DRAIN, _E.KILL, _E.LEAVE),
    _S.ENDED: (_E.DEFERRED, _E.DRAIN, _E.KILL, _E.LEAVE, _E.LOST),
}

TABLE: dict[tuple[WorkerState, WorkerEvent], Row] = {
    **{(state, event): row for state in LIVING for event, row in _LIVING_ROWS.items()},
    **{(state, event): row for state in HEARD for event, row in _HEARD_ROWS.items()},
    **{(state, _E.SILENT): (state, _C.WARN) for state in HEARD},
    **{(state, event): (state, _C.NOTHING) for state, events in _STAYS.items() for event in events},
    **_ROWS,
}


class WorkerLife(LifeCycle[WorkerState, WorkerEvent, WorkerCommand]):
    """One worker.

    Attributes:
        generation: The generation that it serves, 0 for none.
        told: The last generation that was sent, 0 for none.
    """

    def __init__(self) -> None:
        super().__init__("a worker", TABLE, WorkerState.STARTING)
        self.generation = 0
        self.told = 0

    def tell(self, generation: int) -> None:
        """Note that a generation was sent; it owes an answer."""
        self.handle(WorkerEvent.TOLD)
        self.told = generation

    def answer(self, serves: int) -> WorkerCommand:
        """Note what it serves from now on, 0 for nothing; return the command."""
        command = self.handle(WorkerEvent.SERVES if serves else WorkerEvent.SERVES_NOTHING)
        self.generation = serves
        return command

    @property
    def lives(self) -> bool:
        """Whether it runs, and is not about to end."""
        return self.state in LIVING

    @property
    def has_begun(self) -> bool:
        """Whether it runs, and a message has been exchanged."""
        return self.lives and self.state is not WorkerState.STARTING

    @property
    def owes(self) -> bool:
        """Whether it owes an answer."""
        return self.state in (WorkerState.TOLD, WorkerState.BEHIND)

    @property
    def is_late(self) -> bool:
        """Whether it needs another snapshot than the last one sent."""
        return self.state in (WorkerState.BEHIND, WorkerState.LATE)

    @property
    def may_be_told(self) -> bool:
        """Whether a snapshot can be sent now."""
        return (self.state, WorkerEvent.TOLD) in TABLE

    @property
    def serves(self) -> bool:
        """Whether clients reach it."""
        return self.generation > 0 and (self.lives or self.state is WorkerState.DRAINING)

    @property
    def is_heard(self) -> bool:
        """Whether it sends reports, so that its silence means something."""
        return self.state in HEARD
