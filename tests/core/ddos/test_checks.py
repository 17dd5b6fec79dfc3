from spectrum.core.configuration.config import Config
from spectrum.core.configuration.feature import Surroundings
from spectrum.core.ddos.checks import check_rulesets, overrides_of


def config(**rulesets):
    return Config.model_validate({"rulesets": rulesets})


def faults(part, whole):
    return [(fault.path, fault.message) for fault in check_rulesets(part, Surroundings({}, None, whole))]


def test_a_phase_has_one_entry_point():
    both = config(a={}, b={})
    expected = [(("rulesets", "b"), "ruleset a is the entry point of ddos_l4 already")]
    assert faults(both, both) == expected
    assert faults(config(b={}), both) == expected
    assert faults(config(a={}), config(a={})) == faults(config(), config()) == []


def test_what_detection_gets():
    said = {"rules": [{"ref": "a"}, {"ref": "b", "enabled": False}, {"ref": "c", "description": "third"}]}
    assert [one.name for one in overrides_of(config(one=said))] == ["a", "third"]
    assert overrides_of(config()) == ()
