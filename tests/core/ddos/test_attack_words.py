from pathlib import Path

import pytest

import spectrum
from spectrum.core.ddos.attack_events import Attack, AttackEvent, AttackRule, AttackTarget
from spectrum.core.ddos.attack_words import event_text, explain, lasting, scaled, share
from spectrum.core.life.attack import AttackState

RULE = AttackRule(
    name="ddos-1",
    vector="NTP reflection",
    fingerprint="protocol udp, 468 bytes",
    action="source-limit",
    limit=4.0,
    override="night",
    why="few sources send it",
    began=1.0,
    excess=120_000,
    low=110_000,
    high=131_000,
    hits=0.0015,
    packets=5_000_000,
    bytes=2_500_000_000,
)
ATTACK = Attack(
    id="00000000000000aa",
    state=AttackState.MITIGATED,
    app="game",
    target=AttackTarget("192.0.2.1", 7000, "udp"),
    began=0.75,
    mitigated_after=0.25,
    rules=(RULE,),
    packets_per_second=125_000,
    bits_per_second=468e6,
    sources=4200,
)


def text(kind, **fields):
    attack = Attack(**{name: getattr(ATTACK, name) for name in ATTACK.__struct_fields__} | fields)
    return event_text(AttackEvent(at=100.0, kind=kind, attack=attack))


def test_lines_of_the_log():
    whose = "attack 00000000000000aa on game (UDP 192.0.2.1:7000): NTP reflection"
    rates = "125 kpps, 468 Mbit/s"
    assert text("began") == f"{whose} began: {rates}; source-limit after 250 ms; about 4,200 sources"
    assert text("began", sources=None, recurs="bb", mitigated_after=None).endswith(
        "; source-limit; too many sources to count; it recurs, as bb"
    )
    assert text("left_alone") == f"{whose} began: {rates}; no rule is written: few sources send it"
    assert text("changed") == f"{whose} continues: mitigated, {rates} at most; ddos-1 source-limit"
    assert text("ended", ended=120.75) == f"{whose} ended after 2 min: {rates} at most, 5,000,000 packets dropped"
    assert text("began", app="").startswith("attack 00000000000000aa on UDP 192.0.2.1:7000: NTP")


def test_a_rule_in_words():
    assert explain(ATTACK, RULE) == (
        "ddos-1, for attack 00000000000000aa on game: NTP reflection.",
        "It matches packets that belong to no session in use: protocol udp, 468 bytes.",
        "What matches is limited to 4 pps per source.",
        "Why: few sources send it.",
        "The override night defines the action or the sensitivity.",
        "When it was written, 120 kpps more than normal matched; the rate was between 110 kpps and"
        " 131 kpps (95 % sure, from samples).",
        "At most 0.15 % of an app's normal openings match, for the app that it hits most.",
        "Until now 5,000,000 packets of 2.50 GB matched, by its counter.",
    )
    alone = AttackRule(name="", vector="UDP flood", fingerprint="any packet", action="none", began=1.0)
    assert "What matches passes." in explain(ATTACK, alone)


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (scaled(0, "bit/s"), "0 bit/s"),
        (scaled(1_250_000, "B"), "1.25 MB"),
        (share(0.00149), "0.15 %"),
        (lasting(3720), "1 h 2 min"),
        (lasting(0.234), "234 ms"),
    ],
)
def test_numbers(made, shown):
    assert made == shown


def test_packets_per_second_have_one_unit():
    """Programs and pages say `pps`: with a prefix, `kpackets/s` is hard to read beside `kpps`."""
    sources = [one for one in Path(spectrum.__file__).parent.rglob("*") if one.suffix in (".py", ".js", ".html")]
    assert len(sources) > 300
    assert [one.name for one in sources if "packets/s" in one.read_text()] == []
