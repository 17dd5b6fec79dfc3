"""What all life cycles have in common: a table of states and events, which is followed."""

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)
Command = TypeVar("Command", bound=Enum)


class LifeCycle(Generic[State, Event, Command]):
    """One life.

    Args:
        subject: What lives, for the message of an event that cannot be.
        table: The next state and the command, by state and event.
        start: The first state.

    Attributes:
        state: Where it is.
    """

    def __init__(self, subject: str, table: Mapping[tuple[State, Event], tuple[State, Command]], start: State) -> None:
        self._subject = subject
        self._table = table
        self.state = start

    def handle(self, event: Event) -> Command:
        """Go on after an event; return what is to be done.

        Raises:
            ValueError: If that cannot happen in its state; nothing has changed.
        """
        try:
            self.state, command = self._table[self.state, event]
        except KeyError:
            raise ValueError(f"{self._subject} that is {self.state.value}: {event.value}") from None
        return command
