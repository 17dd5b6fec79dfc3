"""Starts that fail; those that do not are in tests/e2e."""

import socket
import sys

import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.control.processes import starting
from spectrum.control.processes.starting import StartError
from spectrum.kernel import installation
from spectrum.kernel.installation import PackageChanged
from tests.control.supervised import made


def config(port, tmp_path):
    return load_text(
        f"apps: {{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"
        f"control: {{socket: {tmp_path}/control.sock}}",
        "x",
    )


async def test_workers_that_do_not_start_are_reported(tmp_path, free_port, monkeypatch):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no engine here >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    refusing = made(config(free_port(), tmp_path))
    monkeypatch.setattr(refusing._start.bank, "open", lambda *_: pytest.fail("a port is opened that nobody serves"))
    with pytest.raises(StartError, match="workers end as soon as they start\nworker 0: exit status 3: no engine here"):
        await refusing.run()
    assert not (tmp_path / "control.sock").exists()


async def test_workers_that_cannot_be_started_are_reported_at_once(tmp_path, free_port, monkeypatch):
    """So it is when the package is changed during a start: the first worker refuses, and no other one is started."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))

    def changed():
        raise PackageChanged("the installed package was changed")

    monkeypatch.setattr(installation, "verify", changed)
    with pytest.raises(StartError, match="\nworker 0: it cannot be started: the installed package was changed"):
        await made(config(free_port(), tmp_path)).run()


async def test_workers_that_do_not_answer_are_reported(tmp_path, free_port, monkeypatch):
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(silent))
    monkeypatch.setattr(starting, "START_TIMEOUT_S", 0.3)
    with pytest.raises(StartError, match=r"not ready within 0\.3 s"):
        await made(config(free_port(), tmp_path)).run()


async def test_a_failed_start_is_reported_and_leaves_nothing(tmp_path, free_port):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StartError, match=r"^app x: .*already in use"):
        await made(config(port, tmp_path)).run()
    assert not (tmp_path / "control.sock").exists()
