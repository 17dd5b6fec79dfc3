"""The common part of life cycles: a table of states and events."""

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)
Command = TypeVar("Command", bound=Enum)


class LifeCycle(Generic[State, Event, Command]):
    """A life cycle.

    Args:
        subject: Its name, for messages about impossible events.
        table: The next state and the command, by state and event.
        start: The first state.

    Attributes:
        state: Its state.
    """

    def __init__(self, subject: str, table: Mapping[tuple[State, Event], tuple[State, Command]], start: State) -> None:
        self._subject = subject
        self._table = table
        self.state = start

    def handle(self, event: Event) -> Command:
        """Change the state by an event; return the command.

        Raises:
            ValueError: If the event is impossible in this state; nothing has changed.
        """
        try:
            self.state, command = self._table[self.state, event]
        except KeyError:
            raise ValueError(f"{self._subject} that is {self.state.value}: {event.value}") from None
        return command
