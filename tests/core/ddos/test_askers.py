import numpy as np
import pytest

from spectrum.core.ddos.askers import Askers, are_too_many, missed, unseen, who_asks
from spectrum.core.ddos.packets import MAPPED
from tests.core.ddos.test_packets import rows

CHANCE = np.random.default_rng(5)
USUAL = 10 << 24 | np.arange(500)


def asked(source, **given):
    return rows(source_low=(MAPPED | np.asarray(source, np.int64)).tolist(), **{"stands_for": 1.0} | given)


PROFILE = asked(np.repeat(USUAL, 2))
ANYWHERE = CHANCE.integers(1 << 24, 223 << 24, 8_000)
# Clients in a few hundred networks, as far more of them than usually come.
NEW = (10 << 24 | 77 << 16) + np.arange(5_000)


@pytest.mark.parametrize(
    ("source", "waited", "who"),
    [
        (ANYWHERE, False, Askers.OTHERS),  # all over the address space
        (ANYWHERE[:400], False, Askers.UNCLEAR),
        (ANYWHERE[:400], True, Askers.OTHERS),  # none comes again
        (NEW, False, Askers.UNCLEAR),
        (NEW, True, Askers.OTHERS),
        (NEW[CHANCE.integers(0, 5_000, 8_000)], False, Askers.UNCLEAR),
        (NEW[CHANCE.integers(0, 5_000, 8_000)], True, Askers.CLIENTS),
        (NEW[CHANCE.integers(0, 500, 8_000)], True, Askers.OTHERS),  # 8/s each
        # Of those who ask always it is normal that they ask again.
        (np.concatenate([ANYWHERE, np.repeat(USUAL, 4)]), False, Askers.OTHERS),
        (np.concatenate([NEW, np.repeat(USUAL, 4)]), True, Askers.OTHERS),
    ],
)
def test_clients_ask_again_and_forged_addresses_do_not(source, waited, who):
    assert who_asks(asked(source), PROFILE, 1_000, 2.0, waited=waited) is who


def test_who_asks_seldom_is_a_client_also_in_few_samples():
    """One in 50 of 200,000 queries: of most clients there is one."""
    source = NEW[0] + CHANCE.integers(0, 100_000, 8_000)
    assert who_asks(asked(source, stands_for=50.0), PROFILE, 1_000, 2.0, waited=True) is Askers.CLIENTS


def test_nothing_is_known_of_no_rows():
    nothing = PROFILE.where(np.zeros(len(PROFILE), bool))
    assert unseen(nothing["source"]) == 0
    assert who_asks(nothing, nothing, 0.0, 2.0, waited=True) is Askers.OTHERS
    assert who_asks(asked(ANYWHERE), nothing, 0.0, 2.0, waited=False) is Askers.OTHERS


def test_the_number_of_sources_is_estimated_from_those_seen_once_and_twice():
    assert unseen(np.array([1, 1, 2, 3])) == 0.5
    assert missed(np.array([1] * 100 + [2] * 10)) == 500
    assert are_too_many(np.arange(4_000)) and not are_too_many(np.arange(4_000) // 2)
