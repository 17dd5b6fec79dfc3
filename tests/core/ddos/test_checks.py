from spectrum.core.configuration.config import Config
from spectrum.core.configuration.feature import CheckContext
from spectrum.core.ddos.checks import check_ddos, check_rulesets, idle_rulesets, overrides_of


def config(**rulesets):
    return Config.model_validate({"rulesets": rulesets})


def faults(part, whole):
    return [(fault.path, fault.message) for fault in check_rulesets(part, CheckContext({}, None, whole))]


def test_a_phase_has_one_entry_point():
    both = config(a={}, b={})
    expected = [(("rulesets", "b"), "ruleset a is already the entry point of ddos_l4")]
    assert faults(both, both) == expected
    assert faults(config(b={}), both) == expected
    assert faults(config(a={}), config(a={})) == faults(config(), config()) == []


def test_what_detection_gets():
    said = {"rules": [{"ref": "a"}, {"ref": "b", "enabled": False}, {"ref": "c", "description": "third"}]}
    assert [one.name for one in overrides_of(config(one=said))] == ["a", "third"]
    assert overrides_of(config()) == ()


def test_overrides_of_nothing():
    (line,) = idle_rulesets(config(one={}))
    assert line == "rulesets: one does nothing while no attacks are looked for; write ddos: {}"
    assert list(idle_rulesets(config())) == []
    assert list(idle_rulesets(Config.model_validate({"rulesets": {"one": {}}, "ddos": {}}))) == []


def test_the_guard_is_that_of_the_filter_where_there_is_one():
    for guard in ([], ["192.0.2.0/24"]):
        alone = Config.model_validate({"ddos": {"guard": guard}})
        assert list(check_ddos(alone, CheckContext({}, None, alone))) == []
        seen = {"ddos": {"guard": guard}, "filter": {"interfaces": ["lo"], "guard": ["10.0.0.0/8"]}}
        both = Config.model_validate(seen)
        faults = list(check_ddos(both, CheckContext({}, None, both)))
        assert [fault.path for fault in faults] == ([("ddos", "guard")] if guard else [])


def test_more_places_than_the_kernel_holds():
    app = {"protocol": "udp/1-60000", "origin_direct": ["udp://192.0.2.1:1"], "edge_ips": ["10.0.0.1", "10.0.0.2"]}
    said = {"filter": {"interfaces": ["lo"], "guard": ["10.0.0.0/8"]}, "apps": {"x": app}}
    many = Config.model_validate(said | {"ddos": {}})
    (fault,) = check_ddos(many, CheckContext({}, None, many))
    assert fault.path == ("ddos",) and "65,536 at most" in fault.message
    without = Config.model_validate(said)
    assert list(check_ddos(without, CheckContext({}, None, without))) == []


def test_rules_about_flows_need_detection():
    rules = {"a": {"ttl": 1}, "b": {"protocol": "udp", "served": False}, "c": {"idle": True, "action": "log"}}
    said = {"filter": {"interfaces": ["lo"], "guard": ["10.0.0.0/8"], "rules": rules}}
    without, with_it = (Config.model_validate(said | more) for more in ({}, {"ddos": {}}))
    found = list(check_ddos(without, CheckContext({}, None, without)))
    assert [fault.path for fault in found] == [("filter", "rules", "b"), ("filter", "rules", "c")]
    assert found[0].message.endswith("need attack detection; write ddos: {}")
    assert list(check_ddos(with_it, CheckContext({}, None, with_it))) == []
