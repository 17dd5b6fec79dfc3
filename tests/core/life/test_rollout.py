from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spectrum.core.life.rollout import ENDS, TABLE, RolloutCommand, RolloutEvent, RolloutLife, RolloutState
from tests.core.life.diagrams import diagram, is_drawn


def test_the_diagram_in_the_docs_is_the_table():
    drawn = diagram(RolloutState.READING, TABLE, ENDS)
    assert is_drawn(drawn), f"put this into docs/architecture.md:\n{drawn}"


def test_each_state_that_is_no_end_has_a_way_out_and_can_be_reached():
    assert {state for state, _ in TABLE} == set(RolloutState) - set(ENDS)
    assert {following for following, _ in TABLE.values()} == set(RolloutState) - {RolloutState.READING}
    assert {event for _, event in TABLE} == set(RolloutEvent)
    assert {RolloutCommand.READ} | {command for _, command in TABLE.values()} == set(RolloutCommand)


def run(actors, failing):
    """Return all commands with their actors, of a rollout in which the given ones fail."""
    life, done = RolloutLife(actors), []
    while not life.ended:
        done.append((life.command, life.place))
        life.go_on((life.command, life.place) not in failing)
    return life.state, done


def test_all_goes_well():
    state, done = run(2, set())
    assert state is RolloutState.SERVED
    assert done == [
        (RolloutCommand.READ, 0),
        (RolloutCommand.PREPARE, 0),
        (RolloutCommand.PREPARE, 1),
        (RolloutCommand.COMMIT, 0),
        (RolloutCommand.COMMIT, 1),
        (RolloutCommand.RELEASE, 0),
        (RolloutCommand.RELEASE, 1),
    ]


def test_a_refused_preparation_is_undone_from_where_it_got_to():
    state, done = run(3, {(RolloutCommand.PREPARE, 1)})
    assert state is RolloutState.REFUSED
    assert done[3:] == [(RolloutCommand.ABORT, 1), (RolloutCommand.ABORT, 0)]


def test_a_refused_commit_undoes_all():
    state, done = run(2, {(RolloutCommand.COMMIT, 0), (RolloutCommand.ABORT, 1)})
    assert state is RolloutState.REFUSED
    assert done[3:] == [(RolloutCommand.COMMIT, 0), (RolloutCommand.ABORT, 1), (RolloutCommand.ABORT, 0)]


class Rollouts(RuleBasedStateMachine):
    """Whatever fails, a configuration is live everywhere or nowhere."""

    @initialize(actors=st.integers(1, 6))
    def begin(self, actors):
        self.actors = actors
        self.life = RolloutLife(actors)
        self.begun, self.prepared, self.committed, self.aborted, self.released = [], [], [], [], []
        self.failed = False
        self.steps = 0

    @precondition(lambda self: not self.life.ended)
    @rule(succeeds=st.sampled_from([True, True, True, False]))
    def step(self, succeeds):
        command, place = self.life.command, self.life.place
        self.steps += 1
        match command:
            case RolloutCommand.PREPARE:
                assert not self.failed and place == len(self.begun)
                self.begun.append(place)
                self.prepared += [place] * succeeds
            case RolloutCommand.COMMIT:
                assert not self.failed and len(self.prepared) == self.actors
                self.committed += [place] * succeeds
            case RolloutCommand.ABORT:
                assert self.failed
                self.aborted.append(place)
            case RolloutCommand.RELEASE:
                assert self.committed == list(range(self.actors)) and not self.failed
                self.released.append(place)
        if not succeeds and command in (RolloutCommand.READ, RolloutCommand.PREPARE, RolloutCommand.COMMIT):
            self.failed = True
        self.life.go_on(succeeds)

    @precondition(lambda self: self.life.ended)
    @rule()
    def end(self):
        assert self.life.command is RolloutCommand.ANSWER
        assert (self.life.state is RolloutState.REFUSED) == self.failed
        assert self.aborted == (self.begun[::-1] if self.failed else [])
        assert self.released == ([] if self.failed else list(range(self.actors)))

    @invariant()
    def ends_in_time(self):
        if hasattr(self, "life"):
            assert self.steps <= 1 + 3 * self.actors
            assert 0 <= self.life.place < self.actors


TestRollouts = Rollouts.TestCase
