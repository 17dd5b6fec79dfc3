import subprocess
import sys

import pytest

from spectrum.cli.main import COMMANDS
from tests.cli.harness import spectrum


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(command):
    result = spectrum(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_no_such_command():
    assert spectrum("fly").exit_code == 2


@pytest.mark.parametrize("command", ["running", "origin"])
def test_what_asks_a_daemon_starts_without_what_a_daemon_needs(command):
    program = f"import sys, spectrum.cli.main, spectrum.cli.{command}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "aiohttp", "uvloop"} & set(loaded)
