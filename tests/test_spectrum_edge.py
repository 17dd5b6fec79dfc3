"""The command's first step, before another project's package of the same name."""

import os
import subprocess
import sys
from pathlib import Path

import spectrum_edge

COMMAND = "from spectrum_edge import main; main()"


def command(*arguments, folder):
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{Path(spectrum_edge.__file__).parent}"}
    return subprocess.run(
        [sys.executable, "-P", "-c", COMMAND, *arguments], capture_output=True, text=True, timeout=20, env=environment
    )


def test_another_projects_package(tmp_path):
    """It is not run: its own imports fail where numpy is not installed."""
    (tmp_path / "spectrum").mkdir()
    (tmp_path / "spectrum" / "__init__.py").write_text('"""Spectrum Analysis Tools."""\nfrom .arma import *\n')
    done = command("--version", folder=tmp_path)
    assert done.returncode == 1
    assert str(tmp_path / "spectrum") in done.stderr
    assert "install spectrum-edge into it" in done.stderr
    assert "Traceback" not in done.stderr


def test_our_package():
    done = command("--version", folder=Path(spectrum_edge.__file__).parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("spectrum, version ")
