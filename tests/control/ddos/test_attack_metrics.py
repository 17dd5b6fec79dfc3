import pytest

from spectrum.control.ddos.attack_metrics import AttackCounts, attack_metrics
from spectrum.core.life.attack import AttackState
from tests.core.ddos.attack_samples import NOW, attack, event, rule


def found(attacks, counts):
    return {
        (sample.name.removeprefix("spectrum_ddos_"), *sample.labels.values()): sample.value
        for family in attack_metrics(attacks, counts)
        for sample in family.samples
    }


def test_what_came_and_what_was_dropped():
    counts = AttackCounts()
    counts.take(event(), {})
    rules = rule(packets=10, bytes=1000), rule("ddos-2", vector="SYN flood", action="log", packets=4, bytes=160)
    counts.take(event("changed", rules=rules), {"ddos-1": (4, 400)})
    seen = found([attack(rules=rules), attack(2, AttackState.LEFT_ALONE, rules=())], counts)
    assert seen["attacks", "mitigated"] == seen["attacks", "left_alone"] == 1
    assert seen["attacks", "logged"] == seen["attacks", "fading"] == 0
    assert seen["rules", "block"] == seen["rules", "log"] == 1
    assert seen["begun_total", "NTP reflection", "game"] == 1
    assert seen["matched_packets_total", "NTP reflection", "game"] == 6
    assert seen["matched_packets_total", "SYN flood", "game"] == 4
    assert seen["dropped_packets_total", "NTP reflection", "game"] == 6
    assert seen["dropped_bytes_total", "NTP reflection", "game"] == 600
    assert seen["dropped_packets_total", "SYN flood", "game"] == 0


def test_how_fast_an_attack_was_met_is_counted_once():
    counts = AttackCounts()
    counts.know(attack(3))
    for number, kind, after in ((1, "began", 0.2), (1, "changed", 0.2), (2, "began", 60.0), (3, "changed", 0.1)):
        counts.take(event(kind, number=number, mitigated_after=after), {})
    counts.take(event("ended", number=1, ended=NOW), {})
    seen = found([], counts)
    assert seen["mitigation_seconds_bucket", "0.1"] == 0
    assert seen["mitigation_seconds_bucket", "0.25"] == seen["mitigation_seconds_bucket", "30.0"] == 1
    assert seen["mitigation_seconds_bucket", "+Inf"] == seen["mitigation_seconds_count",] == 2
    assert seen["mitigation_seconds_sum",] == pytest.approx(60.2)
