from pathlib import Path

import pytest

from spectrum.control import paths
from spectrum.control.paths import (
    analytics_folder,
    api_socket,
    control_path,
    ddos_folder,
    default_control_socket,
    journal_folder,
    profiles_folder,
    sealing_key,
    state_folder,
    store_folder,
)
from spectrum.core.configuration.config import Config


def test_default_control_socket(monkeypatch):
    monkeypatch.setattr(paths.os, "geteuid", lambda: 0)
    assert default_control_socket() == Path("/run/spectrum/control.sock")
    monkeypatch.setattr(paths.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert default_control_socket() == Path("/run/user/1000/spectrum.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_control_socket() == Path("/tmp/spectrum-1000/spectrum.sock")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/spectrum:/run/other")
    assert default_control_socket() == Path("/run/spectrum/control.sock")


def test_each_daemon_has_a_state_folder_of_its_own(monkeypatch):
    monkeypatch.setattr(paths.os, "geteuid", lambda: 0)
    control, name = Path("/run/spectrum/control.sock"), "%2Frun%2Fspectrum%2Fcontrol.sock"
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert state_folder(control) == Path("/var/lib/spectrum") / name
    monkeypatch.setattr(paths.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert state_folder(control) == Path("/home/me/state/spectrum") / name
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edge:/var/lib/other")
    assert state_folder(control) == Path("/var/lib/edge") / name
    assert state_folder(Path("x.sock")) == state_folder(Path("x.sock").absolute())


def test_where_a_configuration_has_its_sockets_and_its_store(monkeypatch):
    monkeypatch.setattr(paths.os, "geteuid", lambda: 0)
    monkeypatch.setenv("STATE_DIRECTORY", "/state")
    assert control_path(Config()) == default_control_socket()
    own = Config.model_validate({"api": {}, "control": {"socket": "/x/edge.sock"}})
    assert control_path(own) == Path("/x/edge.sock")
    assert api_socket(Path("/x/edge.sock")) == Path("/x/edge.api.sock")
    assert api_socket(Path("/run/spectrum/control.sock")) == Path("/run/spectrum/api.sock")
    assert store_folder(own) == Path("/state/%2Fx%2Fedge.sock.api")
    assert store_folder(Config.model_validate({"api": {"store": "/y"}})) == Path("/y")


@pytest.mark.parametrize(
    ("section", "folder"), [("analytics", analytics_folder), ("ddos", ddos_folder), ("", journal_folder)]
)
def test_stores_lie_beside_the_state_unless_the_file_says_otherwise(monkeypatch, section, folder):
    monkeypatch.setenv("STATE_DIRECTORY", "/state")
    control = {"control": {"socket": "/x/edge.sock"}}
    assert folder(Config.model_validate(control)) == Path(f"/state/%2Fx%2Fedge.sock.{section or 'journal'}")
    if section:
        assert folder(Config.model_validate({**control, section: {"store": "/y"}})) == Path("/y")


def test_what_lies_in_those_folders(monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/state")
    assert profiles_folder(Config()) is None
    seen = {"ddos": {"store": "/y"}, "filter": {"interfaces": ["lo"], "guard": ["10.0.0.0/8"]}}
    assert profiles_folder(Config.model_validate(seen)) == Path("/y/profiles")
    assert profiles_folder(Config.model_validate({"ddos": {"store": "/y"}})) == Path("/y/profiles-workers")
    own = Config.model_validate({"control": {"socket": "/x/edge.sock"}})
    assert sealing_key(own) == Path("/state/%2Fx%2Fedge.sock/sealing.key")
