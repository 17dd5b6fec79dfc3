import msgspec

from spectrum.control.ddos.held import RuleKeeper
from spectrum.kernel.filter.rules import SLOT_BYTES
from spectrum.link.detector import DetectorRule


def rule(name, expires_ns):
    return DetectorRule(name, b"\0\xff".ljust(SLOT_BYTES, b"\1"), [b"\1"], "UDP", expires_ns, b"\2")


def test_rules_outlive_a_daemon_and_end_by_themselves(tmp_path, caplog):
    path = tmp_path / "state" / "rules.json"
    first = RuleKeeper(path, lambda: 10)
    assert first.read().rules == first.in_force() == []
    first.take([rule("a", 20), rule("b", 30)], 2)
    first.take([rule("a", 20), rule("b", 30)], 1)
    first.write(first.held)
    second = RuleKeeper(path, lambda: 25)
    assert second.read().last == 2
    assert [one.name for one in second.in_force()] == ["b"]
    assert second.in_force() == [rule("b", 30)]
    assert not caplog.records


def test_a_restarted_machine_has_no_rules(tmp_path):
    keeper = RuleKeeper(tmp_path / "rules.json", lambda: 10)
    keeper.take([rule("a", 20)], 5)
    keeper.held.boot = "another"
    keeper.write(keeper.held)
    again = RuleKeeper(tmp_path / "rules.json", lambda: 10)
    assert (again.read().rules, again.held.last) == ([], 5)


def test_errors_of_reading_and_writing_are_reported(tmp_path, caplog):
    path = tmp_path / "rules.json"
    path.write_bytes(b"{")
    keeper = RuleKeeper(path)
    assert keeper.read().rules == []
    assert "expire" in caplog.text
    path.unlink()
    path.mkdir()
    keeper.write(keeper.held)
    assert "are not kept" in caplog.text
    assert msgspec.json.encode(keeper.held)


def test_rules_of_a_version_before_are_in_todays_form(tmp_path):
    keeper = RuleKeeper(tmp_path / "rules.json", lambda: 10)
    keeper.take([msgspec.structs.replace(rule("a", 20), slot=bytes(range(192)))], 1)
    keeper.write(keeper.held)
    (again,) = RuleKeeper(tmp_path / "rules.json", lambda: 10).read().rules
    assert again.slot == bytes(range(192)) + bytes(SLOT_BYTES - 192)
