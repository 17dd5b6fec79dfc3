import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spectrum.core.life.service import (
    ENDS,
    SUPERVISED,
    TABLE,
    UNSUPERVISED,
    ServiceCommand,
    ServiceEvent,
    ServiceLife,
    ServiceState,
)
from tests.core.life.diagrams import diagram, is_drawn


def test_the_diagram_in_the_docs_is_the_table():
    drawn = diagram(ServiceState.STARTING, TABLE, ENDS, [("SUPERVISED", SUPERVISED), ("UNSUPERVISED", UNSUPERVISED)])
    assert is_drawn(drawn), f"put this into docs/architecture.md:\n{drawn}"


def test_each_state_can_be_reached_and_left():
    changes = {(state, following) for (state, _), (following, _) in TABLE.items() if state is not following}
    assert {state for state, _ in changes} == set(ServiceState) - set(ENDS)
    assert {following for _, following in changes} == set(ServiceState) - {ServiceState.STARTING}
    assert {event for _, event in TABLE} == set(ServiceEvent)
    assert {command for _, command in TABLE.values()} == set(ServiceCommand)
    assert {*SUPERVISED, *UNSUPERVISED, *ENDS} == set(ServiceState)


@pytest.mark.parametrize("state", [state for state in ServiceState if state not in ENDS])
def test_whatever_it_does_it_survives_its_supervisor_or_ends(state):
    if state is ServiceState.ALONE:  # there is none that could be lost
        return
    following, _ = TABLE[state, ServiceEvent.LOST]
    assert following in (*UNSUPERVISED, *ENDS)


def run(*events):
    life = ServiceLife()
    return life, [life.handle(event) for event in events]


def test_from_one_supervisor_to_the_next():
    """It is heard by the first one, and by the next one once it has left all to another worker."""
    life, _ = run(ServiceEvent.CONFIGURED)
    assert life.is_heard and life.takes_snapshots
    assert life.handle(ServiceEvent.LOST) is ServiceCommand.WAIT
    assert life.waits and not life.is_heard and not life.takes_snapshots
    assert life.handle(ServiceEvent.LOST) is ServiceCommand.WAIT, "one that came has gone again"
    assert life.handle(ServiceEvent.ASKED) is ServiceCommand.INTRODUCE
    assert life.is_supervised and not life.is_heard
    assert life.handle(ServiceEvent.RELEASE) is ServiceCommand.LEAVE
    assert life.handle(ServiceEvent.LEFT) is ServiceCommand.SAY_LEFT
    assert life.is_heard
    assert life.handle(ServiceEvent.OVER) is ServiceCommand.TELL
    assert life.is_ending
    assert life.handle(ServiceEvent.TOLD) is ServiceCommand.END
    assert life.ended


def test_the_last_records_of_a_released_worker_wait_for_the_next_supervisor():
    life, commands = run(
        ServiceEvent.CONFIGURED, ServiceEvent.RELEASE, ServiceEvent.LOST, ServiceEvent.LEFT, ServiceEvent.OVER
    )
    assert commands[-1] is ServiceCommand.TELL
    assert life.waits and life.is_ending
    assert life.handle(ServiceEvent.ASKED) is ServiceCommand.INTRODUCE_AND_TELL
    assert life.is_heard


@pytest.mark.parametrize("state", UNSUPERVISED)
def test_sigterm_ends_it_where_nobody_else_would(state):
    assert TABLE[state, ServiceEvent.SIGTERM] == (ServiceState.ENDED, ServiceCommand.END)


class Services(RuleBasedStateMachine):
    """Whatever happens, it serves or waits for as long as somebody may need it, and is counted once."""

    def __init__(self):
        super().__init__()
        self.life = ServiceLife()
        # What would be there in the process.
        self.has_supervisor, self.accepts = True, True
        self.counted_by = self.supervisor = 1

    def handle(self, event):
        command = self.life.handle(event)
        if command in (ServiceCommand.LEAVE, ServiceCommand.DRAIN):
            self.accepts = False
        if command in (
            ServiceCommand.SAY_LEFT,
            ServiceCommand.INTRODUCE_RELEASED,
            ServiceCommand.INTRODUCE_AND_TELL,
        ):
            assert self.has_supervisor
            self.counted_by = self.supervisor
        if command is ServiceCommand.INTRODUCE:
            assert self.accepts
        if command in (ServiceCommand.WAIT, ServiceCommand.LEAVE_TO_SUPERVISOR):
            assert self.has_supervisor is (command is ServiceCommand.LEAVE_TO_SUPERVISOR)
        return command

    @rule(event=st.sampled_from([ServiceEvent.SIGTERM, ServiceEvent.CONFIGURED, ServiceEvent.LEFT]))
    def inside(self, event):
        if (self.life.state, event) in TABLE:
            self.handle(event)
        else:
            before = self.life.state
            with pytest.raises(ValueError, match="a worker that is"):
                self.life.handle(event)
            assert self.life.state is before

    @precondition(lambda self: self.has_supervisor and not self.life.ended)
    @rule()
    def lose(self):
        self.has_supervisor = False
        self.handle(ServiceEvent.LOST)

    @precondition(lambda self: self.life.waits)
    @rule()
    def another_comes(self):
        self.has_supervisor, self.supervisor = True, self.supervisor + 1
        self.handle(ServiceEvent.ASKED)

    @precondition(lambda self: self.life.waits)
    @rule()
    def another_comes_and_goes(self):
        self.handle(ServiceEvent.LOST)

    @precondition(lambda self: self.life.waits)
    @rule()
    def nobody_comes(self):
        self.handle(ServiceEvent.ABANDONED)

    @precondition(lambda self: self.has_supervisor)
    @rule()
    def drain(self):
        if not self.life.ended:
            self.handle(ServiceEvent.DRAIN)

    @precondition(lambda self: self.has_supervisor and self.accepts)
    @rule()
    def release(self):
        if not self.life.ended:
            self.handle(ServiceEvent.RELEASE)

    @precondition(lambda self: not self.accepts and self.life.state is not ServiceState.LEAVING)
    @rule()
    def sessions_end(self):
        if (self.life.state, ServiceEvent.OVER) in TABLE:
            self.handle(ServiceEvent.OVER)

    @precondition(lambda self: self.life.is_ending)
    @rule()
    def all_is_told(self):
        assert self.handle(ServiceEvent.TOLD) is ServiceCommand.END

    @invariant()
    def it_waits_where_it_has_no_supervisor(self):
        if not self.life.ended:
            assert self.life.is_supervised is self.has_supervisor
            assert not self.life.waits or not self.has_supervisor

    @invariant()
    def it_is_heard_by_the_one_that_it_counts_for(self):
        if self.life.is_heard and self.life.state not in (ServiceState.DRAINING, ServiceState.ENDING):
            assert self.has_supervisor and self.counted_by == self.supervisor

    @invariant()
    def snapshots_are_for_those_that_accept(self):
        assert not self.life.takes_snapshots or self.accepts


TestServices = Services.TestCase
