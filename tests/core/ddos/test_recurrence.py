import pytest

from spectrum.core.ddos.predicates import Conjunction, Predicate
from spectrum.core.ddos.recurrence import MOST_REMEMBERED, REMEMBERED_S, PastAttack, PastAttacks, expiry_s


def attack(port, *unseen):
    return Conjunction((Predicate("destination_port", "is", (port,)), Predicate("payload[:2]", "not in", unseen)))


def test_an_attack_is_known_again_by_what_it_shares():
    past = PastAttacks()
    past.add(PastAttack(attack(53, 1, 2), 1, 100.0))
    assert past.times(attack(53, 7), 200.0) == 2  # what the profile has seen differs
    assert past.times(attack(54, 1, 2), 200.0) == 1
    past.add(PastAttack(attack(53, 7), 2, 300.0))
    assert len(past.remembered(300.0)) == 1 and past.times(attack(53), 400.0) == 3


def test_it_is_forgotten_after_a_day_and_the_number_is_bounded():
    past = PastAttacks()
    for port in range(MOST_REMEMBERED + 5):
        past.add(PastAttack(attack(port), 1, 0.0))
    assert len(past.remembered(0.0)) == MOST_REMEMBERED
    assert not past.remembered(REMEMBERED_S + 1) and past.times(attack(60), REMEMBERED_S + 1) == 1


@pytest.mark.parametrize(("times", "seconds"), [(1, 60), (2, 300), (3, 1_800), (9, 1_800)])
def test_rules_of_attacks_that_come_again_stay_longer(times, seconds):
    assert expiry_s(times) == seconds
