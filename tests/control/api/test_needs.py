import os

import pytest

from spectrum.control.api import needs
from spectrum.control.api.needs import api_faults, api_folders, api_refusals, api_user
from spectrum.control.processes.account import AccountError
from spectrum.core.configuration.config import Config


def config(**api):
    return Config.model_validate({"api": api, "control": {"socket": "/run/x/control.sock"}})


def test_without_an_api_nothing_is_needed():
    assert (api_faults(Config()), api_folders(Config()), api_user(Config())) == ([], [], "")


def test_its_libraries(monkeypatch):
    monkeypatch.setattr(needs, "LIBRARIES", ("msgspec", "no_such_library", "nor_this"))
    (fault,) = api_faults(config())
    assert fault.path == ("api",)
    assert fault.message == "it needs no_such_library and nor_this: pip install 'spectrum-edge[api]'"


def test_the_library_of_traces(monkeypatch):
    monkeypatch.setattr(needs, "LIBRARIES", ())
    traces = {"endpoint": "http://127.0.0.1:4318/v1/traces"}
    for absent in ("no_such_library", "no_such_library.within"):
        monkeypatch.setattr(needs, "TRACING", absent)
        (fault,) = api_faults(config(traces=traces))
        assert fault.path == ("api", "traces")
        assert fault.message == "it needs OpenTelemetry: pip install 'spectrum-edge[traces]'"
    monkeypatch.setattr(needs, "TRACING", "msgspec")
    assert api_faults(config(traces=traces)) == []


def test_its_user(monkeypatch):
    monkeypatch.setattr(needs, "LIBRARIES", ())
    assert api_faults(config(user="root")) == []
    (fault,) = api_faults(config(user="nobody-of-that-name"))
    assert fault.path == ("api", "user")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert api_user(config(user="nobody")) == "nobody"
    with pytest.raises(AccountError, match="its process does not run as root: name its user"):
        api_user(config())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert api_user(config(user="nobody")) == ""


def test_what_prevents_a_start(monkeypatch, tmp_path):
    assert list(api_refusals(Config())) == []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (fault,) = api_refusals(config(store=str(tmp_path)))
    assert (fault.path, fault.message) == (
        ("api",),
        "its process does not run as root: name its user, as user: NAME or api: {user: NAME}",
    )
    (fault,) = api_refusals(config(store=str(tmp_path), user="nobody"))
    assert fault.path == ("api", "store") and "belongs to another user; chown -R nobody" in fault.message
    assert api_refusals(config(store=str(tmp_path / "new"), user="nobody")) == []
    assert api_refusals(Config.model_validate({"user": "nobody", "api": {"store": str(tmp_path)}})) == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert api_refusals(config()) == []


def test_its_folder(monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/state")
    assert list(map(str, api_folders(config()))) == ["/state/%2Frun%2Fx%2Fcontrol.sock.api"]
    assert list(map(str, api_folders(config(store="/x/y")))) == ["/x/y"]
