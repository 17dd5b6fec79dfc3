"""Options for the file and the socket, and failures, shared by commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectrum.cli.client import DaemonError, ask
from spectrum.control.paths import default_control_socket

if TYPE_CHECKING:
    from spectrum.control.configuration.loader import KnownObjects
    from spectrum.core.configuration.config import Config

# Readability is checked on use: our message says what to do, that of click does not.
FILE = click.Path(path_type=Path, readable=False)
CONFIG = click.option(
    "-c",
    "--config",
    "path",
    type=FILE,
    default=Path("/etc/spectrum/spectrum.yaml"),
    show_default=True,
    envvar="SPECTRUM_CONFIG",
    show_envvar=True,
    help="The configuration file; - for standard input.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
SOCKET = click.option(
    "--socket",
    "socket_path",
    type=FILE,
    default=None,
    envvar="SPECTRUM_SOCKET",
    show_envvar=True,
    help=f"The daemon's control socket, if not {default_control_socket()}.",
)


def load(path: Path, known: "KnownObjects | None" = None, is_start: bool = False) -> "Config":
    """Return the configuration in a file; its faults become a failure, with `is_start` reasons not to start, too."""
    from spectrum.control.configuration.diagnostics import ConfigError  # Most commands read no file.
    from spectrum.control.configuration.loader import load_file

    try:
        return load_file(path, known=known, is_start=is_start)
    except ConfigError as exc:
        raise failure(str(exc)) from exc


def ask_daemon(socket_path: Path | None, method: str, resource: str, timeout_s: float = 30.0) -> Any:
    """Return the running daemon's answer; no answer is a failure."""
    try:
        return ask(socket_path or default_control_socket(), method, resource, timeout_s)
    except DaemonError as exc:
        raise failure(str(exc)) from exc


def failure(message: str) -> click.ClickException:
    """Return an error for people: the unchanged message on standard error, exit code 1."""

    class Failure(click.ClickException):
        def show(self, file: object = None) -> None:
            click.echo(self.message, err=True)

    return Failure(message)
