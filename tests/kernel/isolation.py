"""Scripts in a network namespace of their own, with a BPF file system of the test's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spectrum.kernel.pins import mount


@pytest.fixture
def filesystem(tmp_path, require):
    """A BPF file system of its own."""
    require("unshare", "umount")
    if os.geteuid() != 0:
        pytest.skip("BPF needs root")
    path = tmp_path / "bpf"
    path.mkdir()
    mount(path)
    mount(path)  # once is enough
    yield path
    subprocess.run(["umount", path], check=True)


def isolated(script, *arguments):
    """Run a script in a network namespace of its own."""
    command = f'ip link set lo up; ip -6 route add local fd00::/8 dev lo; exec {sys.executable} -c "$0" "$@"'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", command, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ
        | {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
