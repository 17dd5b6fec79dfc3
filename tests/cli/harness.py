"""The `spectrum` command in this process."""

from click.testing import CliRunner, Result

from spectrum.cli.main import main


def spectrum(*arguments: object) -> Result:
    """Return what it printed, and its exit code."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
