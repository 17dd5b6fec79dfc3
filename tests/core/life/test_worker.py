import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spectrum.core.life.worker import ENDS, HEARD, LIVING, TABLE, WorkerCommand, WorkerEvent, WorkerLife, WorkerState
from tests.core.life.diagrams import diagram, is_drawn


def test_the_diagram_in_the_docs_is_the_table():
    drawn = diagram(WorkerState.STARTING, TABLE, ENDS, [("LIVING", LIVING), ("HEARD", HEARD)])
    assert is_drawn(drawn), f"put this into docs/architecture.md:\n{drawn}"


def test_each_state_can_be_reached_and_left():
    changes = {(state, following) for (state, _), (following, _) in TABLE.items() if state is not following}
    assert {state for state, _ in changes} == set(WorkerState) - set(ENDS)
    assert {following for _, following in changes} == set(WorkerState) - {WorkerState.STARTING}
    assert {event for _, event in TABLE} == set(WorkerEvent)
    assert {command for _, command in TABLE.values()} == set(WorkerCommand)


@pytest.mark.parametrize("state", [state for state in WorkerState if state not in ENDS])
def test_a_process_that_is_gone_has_ended(state):
    assert TABLE[state, WorkerEvent.EXITED] == (WorkerState.ENDED, WorkerCommand.NOTHING)


@pytest.mark.parametrize("state", [state for state in WorkerState if state not in (WorkerState.LEFT, *ENDS)])
def test_each_worker_of_ours_can_be_killed(state):
    assert TABLE[state, WorkerEvent.KILL] == (WorkerState.KILLED, WorkerCommand.KILL)


def test_silence_counts_where_something_is_to_be_said():
    life = WorkerLife()
    assert life.is_heard
    life.handle(WorkerEvent.STARTED)
    assert not life.is_heard and life.has_begun
    life.tell(1)
    assert life.is_heard
    assert life.handle(WorkerEvent.SILENT) is WorkerCommand.WARN
    assert life.handle(WorkerEvent.HUNG) is WorkerCommand.KILL
    assert not life.is_heard


def test_told_before_it_has_started():
    life = WorkerLife()
    life.tell(3)
    assert (life.owes, life.serves, life.has_begun) == (True, False, True)
    life.handle(WorkerEvent.STARTED)
    assert life.answer(3) is WorkerCommand.NOTHING
    assert (life.state, life.serves, life.generation) == (WorkerState.SERVING, True, 3)


@pytest.mark.parametrize("serves", [0, 1, 2])
def test_what_could_not_be_told_is_told_after_the_answer(serves):
    life = WorkerLife()
    life.tell(1)
    life.answer(1)
    life.tell(2)
    assert not life.may_be_told
    life.handle(WorkerEvent.DEFERRED)
    assert life.is_late and life.serves
    assert life.answer(serves) is WorkerCommand.TELL
    assert life.is_late and life.serves == (serves > 0)
    assert life.handle(WorkerEvent.LOOK) is WorkerCommand.TELL, "until it works"
    life.tell(3)
    assert life.owes and not life.is_late


def test_what_cannot_happen():
    life = WorkerLife()
    with pytest.raises(ValueError, match=r"^a worker that is starting: serves$"):
        life.answer(1)
    life.tell(1)
    with pytest.raises(ValueError, match=r"^a worker that is told: told$"):
        life.tell(2)
    assert (life.state, life.told) == (WorkerState.TOLD, 1)


class Workers(RuleBasedStateMachine):
    """A worker, and what is to be served; whatever happens, it serves that in the end, or ends."""

    def __init__(self):
        super().__init__()
        self.life = WorkerLife()
        self.wanted = 1
        self.has_started = self.is_gone = False
        # What the process serves, and what it has read and not answered.
        self.serves = 0
        self.unanswered = 0
        self.kills = 0

    def tell(self):
        if self.life.may_be_told:
            self.life.tell(self.wanted)
            self.unanswered = self.wanted
        else:
            assert self.life.handle(WorkerEvent.DEFERRED) is WorkerCommand.NOTHING

    @precondition(lambda self: not self.is_gone)
    @rule()
    def say_that_it_has_started(self):
        if not self.has_started and self.life.state is not WorkerState.LOST:
            self.has_started = True
            self.life.handle(WorkerEvent.STARTED)

    @rule(can_be_told=st.booleans())
    def change(self, can_be_told):
        self.wanted += 1
        if can_be_told:
            self.tell()
        else:  # out of descriptors
            self.life.handle(WorkerEvent.DEFERRED)

    @precondition(lambda self: self.has_started and self.unanswered and not self.is_gone)
    @rule(outcome=st.sampled_from(["new", "former", "nothing"]))
    def answer(self, outcome):
        if self.life.state is WorkerState.LOST:
            return
        self.serves = {"new": self.unanswered, "former": self.serves, "nothing": 0}[outcome]
        self.unanswered = 0
        if self.life.answer(self.serves) is WorkerCommand.TELL:
            self.tell()

    @precondition(lambda self: self.life.is_heard)
    @rule(event=st.sampled_from([WorkerEvent.LOOK] * 3 + [WorkerEvent.SILENT, WorkerEvent.HUNG]))
    def look(self, event):
        command = self.life.handle(event)
        if command is WorkerCommand.TELL:
            self.tell()
        self.kills += command is WorkerCommand.KILL
        assert (command is WorkerCommand.WARN) == (event is WorkerEvent.SILENT)

    @rule(event=st.sampled_from([WorkerEvent.DRAIN, WorkerEvent.KILL, WorkerEvent.LEAVE]))
    def be_told_to_go(self, event):
        if event is WorkerEvent.LEAVE and self.life.state is WorkerState.DRAINING:
            return  # nothing is handed over then
        self.kills += self.life.handle(event) is WorkerCommand.KILL

    @precondition(lambda self: not self.is_gone and self.life.state is not WorkerState.LEFT)
    @rule()
    def close_the_channel(self):
        if self.life.state is not WorkerState.LOST:
            self.life.handle(WorkerEvent.LOST)

    @precondition(lambda self: not self.is_gone)
    @rule()
    def exit(self):
        self.is_gone = True
        self.life.handle(WorkerEvent.EXITED)

    @invariant()
    def it_is_told_what_is_to_be_served(self):
        life = self.life
        if life.lives:
            assert life.owes == (self.unanswered > 0)
            assert life.may_be_told != life.owes
            if life.told:
                assert life.is_late or life.told == self.wanted
            if life.state is WorkerState.SERVING:
                assert self.serves > 0
            assert life.generation == self.serves

    @invariant()
    def nobody_comes_back(self):
        assert (self.life.state is WorkerState.ENDED) == self.is_gone
        if self.kills:
            assert self.life.state in (WorkerState.KILLED, WorkerState.ENDED)
            assert not self.life.serves


TestWorkers = Workers.TestCase
