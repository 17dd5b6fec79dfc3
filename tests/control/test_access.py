from ipaddress import ip_address

import pytest

from spectrum.control.access import AccessError, access_faults, load_access
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
    settings, table = load_access(rules)
    assert [(rule.name, rule.blocks) for rule in settings.rules] == [("a", True), ("b", False)]
    found = [settings.lists[PrefixTable(table).find(ip_address(a).packed)] for a in ("192.0.2.1", "2001:db8::1", "::")]
    assert found == [(1,), (2,), ()]


def test_what_is_wrong_is_told_with_file_and_line(tmp_path):
    (tmp_path / "a").write_text("192.0.2.0/24\n192.0.2.1/24\n")
    (tmp_path / "b").write_text("<html>\n" * 10)
    rules = {"a": listed(tmp_path / "a"), "b": listed(tmp_path / "b"), "c": listed(tmp_path / "c")}
    with pytest.raises(AccessError) as caught:
        load_access(rules)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"access rule c: {tmp_path}/c: cannot be read: no such file or directory"
    assert lines[1].startswith(f"access rule a: {tmp_path}/a:2: '192.0.2.1/24' has bits behind its length")
    assert [line.split(": ")[1] for line in lines[2:7]] == [f"{tmp_path}/b:{n}" for n in range(1, 6)]
    assert lines[7:] == [f"access rule b: {tmp_path}/b: and more such lines"]
    assert {fault.path for fault in access_faults(Config(access_rules=rules))} == {
        ("access_rules", name, "file") for name in "abc"
    }
