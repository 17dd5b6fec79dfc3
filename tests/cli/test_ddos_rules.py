import json

from spectrum.core.ddos.managed import RULES
from tests.cli.harness import spectrum


def test_all_rules_are_listed():
    heading, *lines = spectrum("ddos", "rules").output.splitlines()
    assert heading.split() == ["reference", "pps", "action", "attack", "tags"]
    assert [line.split()[0] for line in lines] == [rule.ref for rule in RULES]
    (ntp,) = [line for line in lines if line.startswith("RFL-0002")]
    assert ntp.split() == ["RFL-0002", "2,000", "ddos_dynamic", "NTP", "reflection", "udp", "reflection", "ntp"]


def test_tags_choose_some_of_them():
    found = json.loads(spectrum("ddos", "rules", "udp", "advanced", "--json").output)
    assert [one["ref"] for one in found] == ["ADAPT-0001", "ADAPT-0002", "ADAPT-0003"]
    assert found[0]["id"].endswith("58e4914a") and found[0]["packets_per_second"]["eoff"] == 80_000
    wrong = spectrum("ddos", "rules", "dn")
    assert wrong.exit_code == 1
    assert 'no managed rule has the tag "dn"; did you mean "dns"?' in wrong.output
