import msgspec
import pytest

from spectrum.core.ddos.attack_events import Attack, AttackEvent, AttackRule, AttackSample, AttackTarget
from spectrum.core.life.attack import AttackState


def rule(name, action="block", **fields):
    return AttackRule(
        name=name, vector=f"vector of {name}", fingerprint="any packet", action=action, began=1.0, **fields
    )


ATTACK = Attack(
    id="0123456789abcdef",
    state=AttackState.MITIGATED,
    target=AttackTarget("192.0.2.0/24"),
    began=1.0,
    rules=(
        rule("a", packets=10, bytes=1000, hits=0.1),
        rule("b", "log", packets=5, bytes=500, hits=0.2),
        rule("", "none", hits=1.0),
    ),
)


def test_an_attack_adds_up_its_rules_and_only_what_acts_drops():
    assert (ATTACK.packets, ATTACK.bytes, ATTACK.dropped, ATTACK.hits) == (15, 1500, (10, 1000), 0.2)
    assert ATTACK.vectors == ("vector of a", "vector of b", "vector of ")


def test_events_cross_the_link_as_they_are():
    event = AttackEvent(at=2.0, kind="began", attack=ATTACK, samples=(AttackSample(1.5, 60, b"\0\xff"),))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=AttackEvent) == event
    assert msgspec.json.decode(msgspec.json.encode(event), type=AttackEvent) == event


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (AttackTarget("192.0.2.1", 53, "udp"), "UDP 192.0.2.1:53"),
        (AttackTarget("2001:db8::1", 53, "udp"), "UDP [2001:db8::1]:53"),
        (AttackTarget("2001:db8::/48"), "2001:db8::/48"),
        (AttackTarget("192.0.2.0/24", 0, "icmp"), "ICMP 192.0.2.0/24"),
    ],
)
def test_targets_in_words(target, text):
    assert str(target) == text
