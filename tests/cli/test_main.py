"""What every command does first."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import spectrum

ROOT = Path(spectrum.__file__).parents[1]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_with_closed_descriptors(closed):
    command = [
        "sh",
        "-c",
        f'exec "$@" {closed}',
        "sh",
        sys.executable,
        "-m",
        "spectrum",
        "status",
        "--socket",
        "/nowhere",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert ("/nowhere" in done.stderr) == ("2>&-" not in closed)


def test_another_projects_files_among_ours(tmp_path):
    """Its first file is ours, and its metadata says that others' are there too."""
    shutil.copytree(ROOT / "spectrum", tmp_path / "spectrum", ignore=shutil.ignore_patterns("*.c", "*.pyx", "build"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-P", "-m", "spectrum", "run"]
    (tmp_path / "spectrum-0.10.0.dist-info").mkdir()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert "spectrum-0.10.0.dist-info: another project's files lie among ours" in done.stderr
