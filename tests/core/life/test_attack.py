import pytest

from spectrum.core.life.attack import TABLE, AttackChange, AttackCommand, AttackLife, AttackState
from tests.core.life.diagrams import diagram, is_drawn

ACTIVE = (AttackState.MITIGATED, AttackState.LOGGED, AttackState.LEFT_ALONE)


def test_the_diagram_in_the_docs_is_the_table():
    open_ = (*ACTIVE, AttackState.FADING)
    drawn = diagram(AttackState.SEEN, TABLE, (AttackState.ENDED,), (("OPEN", open_), ("ACTIVE", ACTIVE)))
    assert is_drawn(drawn), f"put this into docs/architecture.md:\n{drawn}"


def test_each_state_that_is_no_end_has_a_way_out_and_can_be_reached():
    assert {state for state, _ in TABLE} == set(AttackState) - {AttackState.ENDED}
    assert {following for following, _ in TABLE.values()} == set(AttackState) - {AttackState.SEEN}
    assert {event for _, event in TABLE} == set(AttackChange)
    assert {command for _, command in TABLE.values()} == set(AttackCommand)


def test_the_begin_is_reported_once_and_so_is_the_end():
    life = AttackLife()
    steps = [AttackChange.TOLERATED, AttackChange.RULED, AttackChange.QUIETED, AttackChange.QUIETED, AttackChange.OVER]
    assert [life.handle(step) for step in steps] == [
        AttackCommand.BEGIN,
        AttackCommand.CHANGE,
        AttackCommand.CHANGE,
        AttackCommand.NOTHING,
        AttackCommand.END,
    ]
    with pytest.raises(ValueError, match=r"^an attack that is ended: rule acts$"):
        life.handle(AttackChange.RULED)


def test_continues_where_another_process_was():
    assert AttackLife(AttackState.FADING).handle(AttackChange.OVER) is AttackCommand.END
