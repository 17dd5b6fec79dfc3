import os

import pytest

from spectrum.control.ddos import needs
from spectrum.control.ddos.needs import ddos_faults, ddos_folders, ddos_refusals, detector_user
from spectrum.control.processes.account import AccountError
from spectrum.core.configuration.config import Config

ON = Config.model_validate({"ddos": {"store": "/var/x", "user": "nobody"}})


def test_a_missing_library_is_reported(monkeypatch):
    assert ddos_faults(ON) == []
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    (fault,) = ddos_faults(ON)
    assert (fault.path, fault.message) == (("ddos",), "it needs numpy: pip install 'spectrum-edge[ddos]'")
    assert ddos_faults(Config()) == []


def test_its_folder():
    assert [str(path) for path in ddos_folders(ON)] == ["/var/x"]
    assert ddos_folders(Config()) == []


def test_what_prevents_a_start(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    given = {"ddos": {"store": str(tmp_path), "user": "nobody"}}
    (fault,) = ddos_refusals(Config.model_validate(given))
    assert fault.path == ("ddos", "store") and "belongs to another user; chown -R nobody" in fault.message
    assert ddos_refusals(Config.model_validate(given | {"user": "nobody"})) == ddos_refusals(Config()) == []
    monkeypatch.setattr(needs, "NOBODY", "nobody-there")
    (fault,) = ddos_refusals(Config.model_validate({"ddos": {"store": str(tmp_path)}}))
    assert fault.path == ("ddos",) and "there is no user 'nobody-there' on this machine" in fault.message


def test_its_user(monkeypatch):
    (fault,) = ddos_faults(Config.model_validate({"ddos": {"user": "nobody-there"}}))
    assert fault.path == ("ddos", "user")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert detector_user(ON) == "nobody"
    assert detector_user(Config()) == ""
    assert detector_user(Config.model_validate({"ddos": True})) == "nobody"
    with pytest.raises(AccountError, match="no user 'nobody-there'"):
        detector_user(Config.model_validate({"ddos": {"user": "nobody-there"}}))
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert detector_user(ON) == ""
