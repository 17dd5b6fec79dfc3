"""`spectrum app`: pause and resume apps of the running daemon."""

from pathlib import Path
from urllib.parse import urlencode

import click

from spectrum.cli.completion import complete_apps
from spectrum.cli.objects import APP, commands
from spectrum.cli.options import SOCKET, ask_daemon, failure

# As for a reload: workers are waited for.
CHANGE_TIMEOUT_S = 120.0


NAME = click.argument("name", shell_complete=complete_apps)


@click.group(short_help="Apps of the API; pause and resume an app.")
def app() -> None:
    """Apps of the running daemon's API; pause and resume any app."""


commands(APP, app)


@app.command(short_help="Refuse new sessions of an app.")
@SOCKET
@NAME
def pause(socket_path: Path | None, name: str) -> None:
    """Refuse new sessions and flows of an app until it is resumed.

    Open ones continue, and its listeners stay. The pause persists over reloads, upgrades and restarts.
    """
    _change(socket_path, "pause", name)


@app.command(short_help="Accept new sessions of an app again.")
@SOCKET
@NAME
def resume(socket_path: Path | None, name: str) -> None:
    """Accept new sessions and flows of a paused app again."""
    _change(socket_path, "resume", name)


def _change(socket_path: Path | None, what: str, name: str) -> None:
    answer = ask_daemon(socket_path, "POST", f"/apps/{what}?{urlencode({'app': name})}", CHANGE_TIMEOUT_S)
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    click.echo(answer["message"])
