from pathlib import Path

from spectrum.control import paths
from spectrum.control.paths import default_control_socket


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
