"""The life cycle of a rollout: a new configuration replaces the one that is served, everywhere or nowhere. The table
has no I/O. Its driver (`control/configuration/rollout.py`) carries out `command` and reports its result. A two-phase
commit is the model: all actors prepare, then all commit; until the last one has, everything can be undone.
"""

from enum import Enum

from spectrum.core.life.cycle import LifeCycle


class RolloutState(Enum):
    """The state of a rollout."""

    READING = "reading"
    PREPARING = "preparing"
    COMMITTING = "committing"
    ABORTING = "aborting"
    # The new configuration is served, and resources of the former one are released.
    RELEASING = "releasing"
    SERVED = "served"
    REFUSED = "refused"


class RolloutEvent(Enum):
    """The result of a command: success, success of the last actor, or failure."""

    DONE = "done"
    LAST_DONE = "last done"
    FAILED = "failed"


class RolloutCommand(Enum):
    """The next step, by one actor at a time; READ and ANSWER are not for actors."""

    READ = "read"
    PREPARE = "prepare"
    COMMIT = "commit"
    ABORT = "abort"
    RELEASE = "release"
    ANSWER = "answer"


# The last abort ends a rollout whether it succeeds or not: failures are logged.
TABLE: dict[tuple[RolloutState, RolloutEvent], tuple[RolloutState, RolloutCommand]] = {
    (RolloutState.READING, RolloutEvent.DONE): (RolloutState.PREPARING, RolloutCommand.PREPARE),
    (RolloutState.READING, RolloutEvent.FAILED): (RolloutState.REFUSED, RolloutCommand.ANSWER),
    (RolloutState.PREPARING, RolloutEvent.DONE): (RolloutState.PREPARING, RolloutCommand.PREPARE),
    (RolloutState.PREPARING, RolloutEvent.LAST_DONE): (RolloutState.COMMITTING, RolloutCommand.COMMIT),
    (RolloutState.PREPARING, RolloutEvent.FAILED): (RolloutState.ABORTING, RolloutCommand.ABORT),
    (RolloutState.COMMITTING, RolloutEvent.DONE): (RolloutState.COMMITTING, RolloutCommand.COMMIT),
    (RolloutState.COMMITTING, RolloutEvent.LAST_DONE): (RolloutState.RELEASING, RolloutCommand.RELEASE),
    (RolloutState.COMMITTING, RolloutEvent.FAILED): (RolloutState.ABORTING, RolloutCommand.ABORT),
    (RolloutState.ABORTING, RolloutEvent.DONE): (RolloutState.ABORTING, RolloutCommand.ABORT),
    (RolloutState.ABORTING, RolloutEvent.LAST_DONE): (RolloutState.REFUSED, RolloutCommand.ANSWER),
    (RolloutState.RELEASING, RolloutEvent.DONE): (RolloutState.RELEASING, RolloutCommand.RELEASE),
    (RolloutState.RELEASING, RolloutEvent.LAST_DONE): (RolloutState.SERVED, RolloutCommand.ANSWER),
}
ENDS = (RolloutState.SERVED, RolloutState.REFUSED)
# A failure there is logged, and does not change the result of the rollout.
_GOES_ON = (RolloutState.ABORTING, RolloutState.RELEASING)


class RolloutLife(LifeCycle[RolloutState, RolloutEvent, RolloutCommand]):
    """One rollout.

    Actors prepare, commit and release in their order. Those that began to prepare abort in the opposite one.

    Args:
        actors: The number of actors, at least one.

    Attributes:
        command: The current command.
        place: The actor that carries it out, 0 for the first.
    """

    def __init__(self, actors: int) -> None:
        assert actors > 0, "a rollout without actors changes nothing"
        super().__init__("a rollout", TABLE, RolloutState.READING)
        self._last = actors - 1
        # The last actor that began to prepare.
        self._reached = 0
        self.place = 0
        self.command = RolloutCommand.READ

    @property
    def ended(self) -> bool:
        """Whether the rollout has ended."""
        return self.state in ENDS

    def go_on(self, succeeded: bool) -> None:
        """Continue after a command succeeded or failed."""
        former = self.state
        self.command = self.handle(self._event(succeeded))
        if self.state is RolloutState.ABORTING:
            self.place = self.place - 1 if former is RolloutState.ABORTING else self._reached
        elif not self.ended:
            self.place = self.place + 1 if former is self.state else 0
        if self.state is RolloutState.PREPARING:
            self._reached = self.place

    def _event(self, succeeded: bool) -> RolloutEvent:
        if not succeeded and self.state not in _GOES_ON:
            return RolloutEvent.FAILED
        if self.state is RolloutState.READING:
            return RolloutEvent.DONE
        return (
            RolloutEvent.LAST_DONE
            if self.place == (0 if self.state is RolloutState.ABORTING else self._last)
            else RolloutEvent.DONE
        )
