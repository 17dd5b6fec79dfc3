import msgspec

from spectrum.core.ddos.attack_records import as_text, records_of
from spectrum.core.life.attack import AttackState
from tests.core.ddos.attack_samples import NOW, event, rule


def test_sums_over_records_are_the_attacks_figures():
    rules = rule(packets=10, bytes=1000), rule("ddos-2", action="log", packets=5, bytes=500)
    told = {}
    counted = []
    for step, kind in enumerate(("began", "changed", "changed", "ended")):
        if step in (1, 3):  # nothing matched in the others
            rules = tuple(msgspec.structs.replace(one, packets=one.packets + 100, bytes=one.bytes + 7) for one in rules)
        found = list(records_of(event(kind, rules=rules), told))
        counted += found
        told = {one.name: (one.packets, one.bytes) for one in rules}
        assert [one.RuleName for one in found] == ([] if step == 2 else ["ddos-1", "ddos-2"])
    of = {
        name: [sum(getattr(one, field) for one in counted if one.RuleName == name) for field in FIELDS]
        for name in ("ddos-1", "ddos-2")
    }
    assert of == {"ddos-1": [210, 1014, 210, 1014], "ddos-2": [205, 514, 0, 0]}


FIELDS = ("Packets", "Bytes", "DroppedPackets", "DroppedBytes")


def test_a_rule_that_joins_an_attack_is_recorded_before_it_matches():
    (one,) = records_of(event("changed", rules=(rule(), rule("ddos-2"))), {"ddos-1": (0, 0)})
    assert (one.RuleName, one.Event) == ("ddos-2", "attackChanged")


def test_as_lines():
    (one,) = records_of(event("ended", ended=NOW + 60, state=AttackState.ENDED, rules=(rule(packets=9),)), {})
    fields = msgspec.json.decode(msgspec.json.encode(one))
    assert fields["EndDatetime"] == "2027-01-15T08:01:00Z" and fields["MitigatedAfter"] == 200_000_000
    assert as_text(fields) == (
        "2027-01-15T08:00:00.000000Z attackEnded attack=0000000000000001 on=game"
        ' vector="NTP reflection" action=block rule="protocol udp, source port 123" packets=9 dropped=9 peak=100000/s'
    )
    assert " on=192.0.2.1 " in as_text(fields | {"Application": ""})
