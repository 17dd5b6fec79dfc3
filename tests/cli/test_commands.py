import pytest

from spectrum.cli.commands import COMMANDS
from tests.cli.harness import spectrum


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(command):
    result = spectrum(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_no_such_command():
    assert spectrum("fly").exit_code == 2
