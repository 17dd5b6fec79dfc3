from ipaddress import ip_address

import pytest

from spectrum.control.access import AccessError, AccessLoader, access_faults, load_access
from spectrum.core.access.lists import AddressList
from spectrum.core.access.objects import AccessRule
from spectrum.core.access.prefix_table import PrefixTable
from spectrum.core.configuration.config import Config


def listed(path, **more):
    return AccessRule.model_validate({"target": "ip_range", "action": "block", "file": str(path), **more})


def test_lists_become_a_table(tmp_path):
    (tmp_path / "a").write_text("192.0.2.0/24 # one\n")
    (tmp_path / "b").write_text("2001:db8::/32\n")
    rules = {"a": listed(tmp_path / "a"), "b": listed(tmp_path / "b", action="allow")}
    assert access_faults(Config(access_rules=rules)) == []
    settings, table = load_access(Config(access_rules=rules))
    assert [(rule.name, rule.blocks) for rule in settings.rules] == [("a", True), ("b", False)]
    found = [settings.lists[PrefixTable(table).find(ip_address(a).packed)] for a in ("192.0.2.1", "2001:db8::1", "::")]
    assert found == [(1,), (2,), ()]


def test_faults_have_file_and_line(tmp_path):
    (tmp_path / "a").write_text("192.0.2.0/24\n192.0.2.1/24\n")
    (tmp_path / "b").write_text("<html>\n" * 10)
    rules = {"a": listed(tmp_path / "a"), "b": listed(tmp_path / "b"), "c": listed(tmp_path / "c")}
    with pytest.raises(AccessError) as caught:
        load_access(Config(access_rules=rules))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"access rule c: {tmp_path}/c: cannot be read: no such file or directory"
    assert lines[1].startswith(f"access rule a: {tmp_path}/a:2: '192.0.2.1/24' has bits behind its length")
    assert [line.split(": ")[1] for line in lines[2:7]] == [f"{tmp_path}/b:{n}" for n in range(1, 6)]
    assert lines[7:] == [f"access rule b: {tmp_path}/b: and more lines like this"]
    assert {fault.path for fault in access_faults(Config(access_rules=rules))} == {
        ("access_rules", name, "file") for name in "abc"
    }


BAD = AddressList.model_validate({"kind": "ip", "items": ["192.0.2.0/24", {"ip": "2001:db8::/32"}]})
HOSTERS = AddressList.model_validate({"kind": "asn", "items": [64500]})


def rule(**fields):
    return AccessRule.model_validate({"target": "ip", "action": "block", **fields})


def test_lists_of_the_file_are_in_the_table():
    rules = {"a": rule(list="bad"), "b": rule(target="asn", list="hosters")}
    settings, table = load_access(Config(access_rules=rules, lists={"bad": BAD, "hosters": HOSTERS}))
    assert settings.rules[1].numbers == (64500,)
    found = [settings.lists[PrefixTable(table).find(ip_address(a).packed)] for a in ("192.0.2.1", "2001:db8::1", "::")]
    assert found == [(1,), (1,), ()]


def test_a_list_that_is_missing_is_one_fault_and_told_elsewhere():
    assert access_faults(Config(access_rules={"a": rule(list="none")})) == []


def test_what_did_not_change_is_worked_out_once(monkeypatch):
    loaded = []
    monkeypatch.setattr("spectrum.control.access.load_access", lambda config: loaded.append(1) or load_access(config))
    loader = AccessLoader()
    rules, lists = {"a": rule(list="bad")}, {"bad": BAD}
    first = loader.load(Config.model_construct(access_rules=rules, lists=lists))
    again = loader.load(Config.model_construct(access_rules=dict(rules), lists=dict(lists)))
    assert (first, loaded) == (again, [1])
    for changed in (
        {"access_rules": {"a": rule(list="bad")}, "lists": lists},
        {"access_rules": {"b": rules["a"]}, "lists": lists},
        {"access_rules": {**rules, "b": rule(value="192.0.2.1")}, "lists": lists},
        {"access_rules": rules, "lists": {"bad": BAD.model_copy()}},
    ):
        loader.load(Config.model_construct(**changed))
    assert len(loaded) == 5


def test_what_a_file_is_named_in_is_always_read(tmp_path):
    (tmp_path / "a").write_text("192.0.2.0/24\n")
    config = Config.model_construct(access_rules={"a": listed(tmp_path / "a")}, lists={})
    loader = AccessLoader()
    first = loader.load(config)
    (tmp_path / "a").write_text("192.0.3.0/24\n")
    assert loader.load(config)[1] != first[1]
