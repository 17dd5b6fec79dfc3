import os
from pathlib import Path

from spectrum.control.configuration.machine import (
    machine_faults,
    made_folders,
    named_files,
    object_faults,
    start_refusals,
    warnings_of_start,
)
from spectrum.core.configuration.config import Config

TEXT = {
    "user": "nobody-of-this-name",
    "access_rules": {"r": {"target": "ip", "action": "block", "file": "/gone/list"}},
    "geoip": {"database": "/gone/places"},
    "certificates": {"c": {"certificate": "/gone/chain", "key": "/gone/key"}},
    "filter": {"interfaces": ["lo"], "guard": ["::/0"], "lists": {"l": {"file": "/gone/drop"}}},
}


def test_nothing_is_named():
    assert named_files(Config()) == machine_faults(Config()) == made_folders(Config()) == []


def test_all_that_is_named():
    config = Config.model_validate(TEXT)
    assert named_files(config) == [Path("/gone") / name for name in ("list", "places", "chain", "key", "drop")]
    paths = {fault.path[0] for fault in machine_faults(config)}
    assert paths == {"user", "access_rules", "geoip", "certificates", "filter"}


def test_folders_that_are_written_to():
    acme = {"names": ["a.example"], "accept_terms": True}
    config = Config.model_validate({"acme": {"folder": "/kept"}, "certificates": {"c": {"acme": acme}}})
    assert made_folders(config) == [Path("/kept")]
    assert Path("/kept/c.pem") in named_files(config)


def test_what_would_prevent_a_start(tmp_path, monkeypatch):
    assert start_refusals(Config(), None) == warnings_of_start(Config()) == []
    control = {"socket": str(tmp_path / "s")}
    config = Config.model_validate({"api": {}, "control": control})
    assert [fault.path for fault in start_refusals(config, None)] == [("api",)]
    assert machine_faults(config) == []
    config = Config.model_validate({"user": "nobody", "control": control})
    (tmp_path / "f").touch(mode=0o600)
    (tmp_path / "s").touch()
    places = [fault.path for fault in start_refusals(config, tmp_path / "f")]
    assert places == [("user",), ("control", "socket")], "the file cannot be read, or the interpreter of the tests run"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [line[:30] for line in warnings_of_start(config)] == ["user: only root can switch to "]


def test_what_depends_on_named_objects_alone():
    config = Config.model_validate({"user": "nobody-of-that-name"})
    assert [fault.path for fault in machine_faults(config)] == [("user",)]
    assert object_faults(config) == []
    rule = {"target": "ip_range", "file": "/nowhere", "action": "block"}
    config = Config.model_validate({"access_rules": {"bad": rule}})
    assert [fault.path for fault in object_faults(config)] == [("access_rules", "bad", "file")]
