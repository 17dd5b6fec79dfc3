import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spectrum.core.life.former_worker import (
    ENDS,
    LIVING,
    TABLE,
    FormerWorkerCommand,
    FormerWorkerEvent,
    FormerWorkerLife,
    FormerWorkerState,
)
from tests.core.life.diagrams import diagram, is_drawn


def test_the_diagram_in_the_docs_is_the_table():
    drawn = diagram(FormerWorkerState.FOUND, TABLE, ENDS, [("LIVING", LIVING)])
    assert is_drawn(drawn), f"put this into docs/architecture.md:\n{drawn}"


def test_each_state_can_be_reached_and_left():
    changes = {(state, following) for (state, _), (following, _) in TABLE.items() if state is not following}
    assert {state for state, _ in changes} == set(FormerWorkerState) - set(ENDS)
    assert {following for _, following in changes} == set(FormerWorkerState) - {FormerWorkerState.FOUND}
    assert {event for _, event in TABLE} == set(FormerWorkerEvent)
    assert {command for _, command in TABLE.values()} == set(FormerWorkerCommand)


def run(*events):
    life = FormerWorkerLife()
    return life, [life.handle(event) for event in events]


def test_taken_from_a_killed_supervisor():
    """It counts for us as soon as it has said who it is."""
    life, commands = run(FormerWorkerEvent.TAKE)
    assert commands == [FormerWorkerCommand.ASK] and not life.counts and not life.awaits_relief
    life.handle(FormerWorkerEvent.INTRODUCED)
    assert life.counts and life.awaits_relief
    assert life.handle(FormerWorkerEvent.RELIEVE) is FormerWorkerCommand.RELEASE
    assert not life.awaits_relief
    life.handle(FormerWorkerEvent.RELIEVED)
    assert life.counts and life.lives


def test_given_by_a_supervisor_that_leaves():
    """It counts for that one until it is relieved."""
    life, commands = run(FormerWorkerEvent.GIVE, FormerWorkerEvent.BEGIN)
    assert commands[1] is FormerWorkerCommand.LISTEN and not life.counts and life.awaits_relief
    life.handle(FormerWorkerEvent.RELIEVE)
    assert not life.counts
    life.handle(FormerWorkerEvent.RELIEVED)
    assert life.counts


def test_relieved_by_a_supervisor_between():
    life, commands = run(FormerWorkerEvent.GIVE_RELIEVED, FormerWorkerEvent.BEGIN)
    assert commands[1] is FormerWorkerCommand.LISTEN_AND_ASK and not life.counts and not life.awaits_relief
    life.handle(FormerWorkerEvent.INTRODUCED_RELIEVED)
    assert life.counts and life.state is FormerWorkerState.RELIEVED


@pytest.mark.parametrize(
    "events", [[FormerWorkerEvent.TAKE], [FormerWorkerEvent.GIVE, FormerWorkerEvent.BEGIN, FormerWorkerEvent.RELIEVE]]
)
def test_one_that_does_not_answer_is_killed(events):
    life, _ = run(*events)
    assert life.handle(FormerWorkerEvent.SILENT) is FormerWorkerCommand.KILL
    life.handle(FormerWorkerEvent.LOST)
    assert life.handle(FormerWorkerEvent.SILENT) is FormerWorkerCommand.NOTHING, "it has ended in that moment"


def test_what_cannot_happen():
    life, _ = run(FormerWorkerEvent.GIVE)
    with pytest.raises(ValueError, match=r"^a worker that is given: relieved$"):
        life.handle(FormerWorkerEvent.RELIEVED)
    assert life.state is FormerWorkerState.GIVEN


class FormerWorkers(RuleBasedStateMachine):
    """Whatever happens, a worker is relieved once, and counts for one supervisor at a time."""

    @initialize(how=st.sampled_from([FormerWorkerEvent.TAKE, FormerWorkerEvent.GIVE, FormerWorkerEvent.GIVE_RELIEVED]))
    def find(self, how):
        self.life = FormerWorkerLife()
        self.life.handle(how)
        # Who hears it, and counts.
        self.is_heard_by_the_former = how is not FormerWorkerEvent.TAKE
        self.counts_for_the_former = how is not FormerWorkerEvent.TAKE
        self.relieved = int(how is FormerWorkerEvent.GIVE_RELIEVED)

    @rule(event=st.sampled_from(FormerWorkerEvent))
    def go_on(self, event):
        if (self.life.state, event) not in TABLE:
            before = self.life.state
            with pytest.raises(ValueError, match="a worker that is"):
                self.life.handle(event)
            assert self.life.state is before
            return
        command = self.life.handle(event)
        if command is FormerWorkerCommand.RELEASE:
            self.relieved += 1
        if event is FormerWorkerEvent.BEGIN:
            self.is_heard_by_the_former = False
            assert command in (FormerWorkerCommand.LISTEN, FormerWorkerCommand.LISTEN_AND_ASK)
        if event in (FormerWorkerEvent.RELIEVED, FormerWorkerEvent.INTRODUCED_RELIEVED):
            self.counts_for_the_former = False
            assert self.life.counts

    @invariant()
    def it_counts_for_one(self):
        if self.life.counts:
            assert not self.counts_for_the_former and not self.is_heard_by_the_former

    @invariant()
    def it_is_relieved_once(self):
        assert self.relieved <= 1
        if self.relieved:
            assert not self.life.awaits_relief


TestVeterans = FormerWorkers.TestCase
