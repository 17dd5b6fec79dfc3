import pytest

from spectrum.core.life.session import (
    ENDS,
    LIVING,
    TABLE,
    UNDECIDED,
    SessionCommand,
    SessionState,
    SessionStep,
)
from tests.core.life.diagrams import diagram, is_drawn


def test_the_diagram_in_the_docs_is_the_table():
    drawn = diagram(SessionState.ACCEPTED, TABLE, ENDS, [("LIVING", LIVING), ("UNDECIDED", UNDECIDED)])
    assert is_drawn(drawn), f"put this into docs/architecture.md:\n{drawn}"


def test_each_state_can_be_reached_and_left():
    changes = {(state, following) for (state, _), (following, _) in TABLE.items() if state is not following}
    assert {state for state, _ in changes} == set(LIVING)
    assert {following for _, following in changes} == set(SessionState) - {SessionState.ACCEPTED}
    assert {event for _, event in TABLE} == set(SessionStep)
    assert {command for _, command in TABLE.values()} == set(SessionCommand)


@pytest.mark.parametrize("state", LIVING)
def test_each_session_ends_with_a_record(state):
    assert TABLE[state, SessionStep.OVER] == (SessionState.ENDED, SessionCommand.RECORD)


@pytest.mark.parametrize("state", UNDECIDED)
def test_each_session_without_an_origin_can_be_refused(state):
    assert TABLE[state, SessionStep.TURNED_AWAY] == (SessionState.ENDED, SessionCommand.REFUSE)


def test_no_wait_comes_twice():
    """A client waits for its turn once, and shakes hands once."""
    for event in (SessionStep.MUST_WAIT, SessionStep.SPEAKS_TLS):
        (reached,) = {following for (_, one), (following, _) in TABLE.items() if one is event}
        assert (reached, event) not in TABLE
