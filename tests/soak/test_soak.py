"""A short soak: with a kill, flaps, reloads and upgrades. `make soak` runs the long one, which looks at memory too."""

import re
import subprocess
import sys

import pytest

from tests.soak.__main__ import slope_of


def test_a_short_soak():
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.12"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "otherwise: 0" in done.stdout
    assert re.search(r"[1-9]\d* kills", done.stdout)
    assert "2 upgrades" in done.stdout


def test_the_slope():
    assert slope_of([0, 1, 2, 3], [5, 7, 9, 11]) == pytest.approx(2)
    assert slope_of([0, 1, 2], [3, 3, 3]) == 0
