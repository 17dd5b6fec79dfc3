import pytest

from spectrum.core.balancing.health import RECENT, Health, ProbeResult


def run(results, up=0, down=0):
    """The verdict after each result of a string such as "+--"."""
    health, verdicts = Health(), ""
    for now, result in enumerate(results):
        health.take(ProbeResult(result == "+", "" if result == "+" else "refused"), up, down, now)
        verdicts += {True: "U", False: "D", None: "?"}[health.healthy]
    return verdicts


@pytest.mark.parametrize(
    ("results", "up", "down", "verdicts"),
    [
        ("+-+-", 0, 0, "UDUD"),
        ("+-+-", 1, 1, "UDUD"),
        ("-+", 3, 3, "DD"),
        ("+----+", 2, 3, "UUUDDD"),
        ("+--+--+--", 0, 3, "UUUUUUUUU"),  # never three in a row
        ("-++-+++", 3, 1, "DDDDDDU"),
        ("+---+++++", 4, 3, "UUUDDDDUU"),
    ],
)
def test_the_verdict_after_each_result(results, up, down, verdicts):
    assert run(results, up, down) == verdicts


def test_unknown_until_the_first_result():
    assert Health().healthy is None
    assert Health().reason == "not probed yet"


def test_what_is_kept():
    health = Health()
    assert health.take(ProbeResult(True, rtt_s=0.1, code=200, certificate_expires=5e9), 0, 2, 1.0)
    assert not health.take(ProbeResult(False, "timeout", timed_out=True), 0, 2, 2.0)
    assert (health.healthy, health.reason, health.changed_at, health.probed_at) == (True, "", 1.0, 2.0)
    assert health.take(ProbeResult(False, "refused"), 0, 2, 3.0)
    assert (health.healthy, health.reason, health.changed_at) == (False, "refused", 3.0)
    assert not health.take(ProbeResult(False, "timeout"), 0, 2, 4.0)
    assert health.reason == "timeout"
    assert (health.rtt_s, health.certificate_expires) == (0.1, 5e9)


def test_round_trips_are_averaged():
    health = Health()
    for _ in range(3):
        health.take(ProbeResult(True, rtt_s=0.1), 0, 0, 0)
    for _ in range(3):
        health.take(ProbeResult(True, rtt_s=0.2), 0, 0, 0)
    assert health.rtt_s == pytest.approx(0.2 - 0.1 * 0.8**3)


def test_the_last_results():
    health = Health()
    for ok in (True, False, True):
        health.take(ProbeResult(ok), 0, 0, 0)
    assert bin(health.history)[3:] == "101"
    for number in range(2 * RECENT):
        health.take(ProbeResult(number % 2 == 0), 0, 0, 0)
    assert bin(health.history)[3:] == "10" * (RECENT // 2)
