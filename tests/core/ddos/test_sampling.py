import pytest

from spectrum.core.ddos.sampling import MOST_CPU, PATIENT_LOOKS, SamplingControl


def settle(control, idle, used, looks=100):
    """Look for so long at so many packets a second of both kinds; return how often something else held then."""
    changes = 0
    for _ in range(looks):
        one_in = control.one_in
        counts = int(idle / 4 / one_in[0]), int(used / 4 / one_in[1])
        changes += control.look(*counts, (counts[0] * one_in[0], counts[1] * one_in[1]), 0.25)
    return changes


@pytest.mark.parametrize("idle", [0, 100, 4_000, 50_000, 1_000_000, 60_000_000])
@pytest.mark.parametrize("used", [0, 40_000, 5_000_000])
def test_it_settles_where_samples_are_few_enough_and_not_too_few(idle, used):
    control = SamplingControl(8_000)
    settle(control, idle, used)
    assert settle(control, idle, used) == 0
    for rate, one_in, most in ((idle, control.one_in[0], 6_000), (used, control.one_in[1], 2_000)):
        assert rate / one_in <= 1.5 * most
        assert one_in == 1 or rate / one_in >= 0.4 * most


def test_a_flood_is_looked_at_less_at_once_and_its_end_seen_later():
    control = SamplingControl(8_000, (1, 16))
    assert settle(control, 4_000, 40_000) == 0
    assert settle(control, 4_000_000, 40_000, 1) == 1
    assert 4_000_000 / control.one_in[0] < 8_000
    assert settle(control, 4_000, 40_000, PATIENT_LOOKS - 1) == 0
    assert settle(control, 4_000, 40_000, 20) > 0


def test_what_costs_too_much_is_done_less():
    control = SamplingControl(16_000)
    for _ in range(20):
        control.spend(MOST_CPU * 2)
    assert control.samples_per_second == 2_000
    for _ in range(40):
        control.spend(MOST_CPU / 4)
    assert control.samples_per_second == 16_000
    control.spend(MOST_CPU * 0.8)
    assert control.samples_per_second == 16_000
