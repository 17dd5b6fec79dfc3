"""The `spectrum` command in this process."""

from click.testing import CliRunner, Result

from spectrum.cli.commands import main


def spectrum(*arguments: object, given: str | None = None) -> Result:
    """Return what it printed, and its exit code; `given` is its standard input."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=given)
