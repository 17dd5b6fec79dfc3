"""scripts/debian: the package in a clean root: installed, serving, upgraded under an open session, removed, purged."""

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.engine.harness import eventually
from tests.packages.test_wheels import answer

PORT, ORIGIN_PORT = 7000, 9000


@pytest.fixture
def package(built):
    """The package's file."""
    (found,) = built("spectrum-edge_*.deb")
    return found


def test_life_of_the_package(package, root):
    """The first app of its file is served before and after an upgrade; nothing of a purged package is left."""
    assert _left(root) == []
    shutil.copy(package, root.path / "tmp/first.deb")
    root.run("dpkg", "--install", "/tmp/first.deb")
    _has_what_people_look_for(root)

    daemon = subprocess.Popen(root.command("spectrum", "run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    origin = subprocess.Popen(root.command("spectrum", "origin", "--tcp", f"127.0.0.1:{ORIGIN_PORT}"))
    running = daemon.pid
    try:
        eventually(lambda: b"you are 127.0.0.1:" in answer(PORT), 60)
        user = root.run("id", "--user", "spectrum").strip()
        assert f"Uid:\t{user}\t" in Path(f"/proc/{daemon.pid}/status").read_text()
        running = _upgrade(root, package)
        assert daemon.wait(60) == 0
    finally:
        # What systemd does before the package is removed.
        os.kill(running, signal.SIGTERM)
        origin.terminate()
        origin.wait(60)
        if running == daemon.pid:
            daemon.wait(60)
    eventually(lambda: not Path(f"/proc/{running}").exists(), 60)
    _remove(root)
    root.run("dpkg", "--purge", "spectrum-edge")
    assert _left(root) == []
    assert "spectrum" not in root.run("cat", "/etc/passwd", "/etc/group")


def _left(root):
    """Return what of the root has the name, beside the test's own files."""
    return root.run("find", "/", "-xdev", "-name", "*spectrum*").split()


def _has_what_people_look_for(root):
    for path in (
        "etc/spectrum/spectrum.yaml",
        "lib/systemd/system/spectrum.service",
        "usr/share/man/man1/spectrum-explain.1.gz",
        "usr/share/man/man5/spectrum.yaml.5.gz",
        "usr/share/bash-completion/completions/spectrum",
        "usr/share/doc/spectrum-edge/examples/load-balancing.yaml",
        "usr/share/doc/spectrum-edge/examples/flow-programs/game.c",
    ):
        assert (root.path / path).exists(), path
    unit = (root.path / "lib/systemd/system/spectrum.service").read_text()
    assert "ExecStart=/usr/bin/spectrum run -c /etc/spectrum/spectrum.yaml" in unit
    assert "/opt/spectrum" not in unit
    assert "no faults" in root.run("spectrum", "check")
    # The modules are compiled, for a daemon that may not write where they are.
    assert list((root.path / "usr/lib/spectrum-edge").rglob("spectrum/__pycache__/*.pyc"))
    assert "_spectrum_completion" in (root.path / "usr/share/bash-completion/completions/spectrum").read_text()


def _upgrade(root, package):
    """Install a later version, which takes over with the session open; return the process id of the daemon."""
    with socket.create_connection(("127.0.0.1", PORT), 10) as client:
        client.settimeout(20)
        client.sendall(b"before\n")
        assert b"you are" in client.recv(1000)
        root.run("dpkg", "--install", _later(root, package))
        status = json.loads(root.run("spectrum", "status", "--json"))
        assert status["version"] == "99.0"
        client.sendall(b"after\n")
        told = b""
        while b"after" not in told:
            data = client.recv(1000)
            assert data, told
            told += data
    assert b"you are" in answer(PORT)
    return status["pid"]


def _later(root, package):
    """Make a package of a later version, of the same files, in the root."""
    folder = root.path / "tmp/later"
    subprocess.run(["dpkg-deb", "--raw-extract", package, folder], check=True)
    control = folder / "DEBIAN/control"
    control.write_text(
        "".join(
            "Version: 99.0-1\n" if line.startswith("Version:") else line
            for line in control.read_text().splitlines(keepends=True)
        )
    )
    (module,) = folder.glob("usr/lib/spectrum-edge/lib/python3*/site-packages/spectrum/__init__.py")
    lines = module.read_text().splitlines(keepends=True)
    module.write_text("".join('__version__ = "99.0"\n' if line.startswith("__version__") else line for line in lines))
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", folder, root.path / "tmp/later.deb"], check=True, stdout=subprocess.DEVNULL
    )
    return "/tmp/later.deb"


def _remove(root):
    """Its file stays until the package is purged."""
    root.run("dpkg", "--remove", "spectrum-edge")
    assert not (root.path / "usr/bin/spectrum").is_symlink()
    assert not (root.path / "usr/lib/spectrum-edge").exists()
    assert (root.path / "etc/spectrum/spectrum.yaml").exists()
