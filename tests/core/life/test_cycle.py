from enum import Enum

import pytest

from spectrum.core.life.cycle import LifeCycle


class State(Enum):
    SHUT = "shut"
    OPEN = "open"


class Event(Enum):
    PUSH = "push"
    PULL = "pull"


class Command(Enum):
    RING = "ring"


TABLE = {(State.SHUT, Event.PUSH): (State.OPEN, Command.RING)}


def test_follows_its_table():
    life = LifeCycle("a door", TABLE, State.SHUT)
    assert life.handle(Event.PUSH) is Command.RING
    assert life.state is State.OPEN


def test_what_the_table_does_not_have_changes_nothing():
    life = LifeCycle("a door", TABLE, State.SHUT)
    with pytest.raises(ValueError, match=r"^a door that is shut: pull$"):
        life.handle(Event.PULL)
    assert life.state is State.SHUT
