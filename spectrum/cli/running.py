"""Commands for the running daemon: `spectrum status`, `explain`, `samples`, `reload`, `upgrade`."""

import json
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import click

from spectrum.cli.client import DaemonError, ask
from spectrum.cli.options import AS_JSON, SOCKET, ask_daemon, failure
from spectrum.control.paths import default_control_socket

PIPE_WIDTH = 250
# The daemon waits a minute for each answer of a successor.
UPGRADE_ANSWER_S = 150.0
UPGRADE_TIMEOUT_S = 60.0
# The daemon waits for workers at most three times 10 s, and others may reload at the same time.
RELOAD_TIMEOUT_S = 120.0


@click.command(short_help="Show the running daemon.")
@SOCKET
@AS_JSON
def status(socket_path: Path | None, as_json: bool) -> None:
    """Show the running daemon: apps, listeners, sessions, bytes, origins."""
    answer = ask_daemon(socket_path, "GET", "/status")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    from rich.console import Console

    from spectrum.cli.show import show_status

    # A pipe has no width: lines are not folded.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as shown:
        show_status(answer, console)
    for line in shown.get().splitlines():
        click.echo(line.rstrip())


@click.command(short_help="Explain where a client would go now.")
@SOCKET
@click.option("--app", required=True, help="The app that the client connects to.")
@click.option("--client", required=True, metavar="ADDRESS", help="The client's IP address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The client's port, if it matters.")
@AS_JSON
def explain(socket_path: Path | None, app: str, client: str, port: int, as_json: bool) -> None:
    """Explain step by step where a client would go now."""
    answer = ask_daemon(socket_path, "GET", f"/explain?{urlencode({'app': app, 'client': client, 'port': port})}")
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    for number, step in enumerate(answer["steps"], 1):
        click.echo(f"{number}. {step}")


@click.command(short_help="Show the most frequent packets.")
@SOCKET
@click.option(
    "--by",
    default="verdict,source,protocol,destination_port",
    show_default=True,
    metavar="FIELDS",
    help="verdict, source, destination, protocol, source_port, destination_port, length, ttl, tcp_flags.",
)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="Age of the oldest sample."
)
@click.option("--count", type=click.IntRange(1, 1000), default=20, show_default=True, help="Maximum number of lines.")
@AS_JSON
def samples(socket_path: Path | None, by: str, seconds: float, count: int, as_json: bool) -> None:
    """Print the most frequent recent packets, by the filter's samples."""
    answer = ask_daemon(socket_path, "GET", f"/samples?{urlencode({'by': by, 'seconds': seconds, 'count': count})}")
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    keys = [*by.split(","), "packets_per_second", "bytes_per_second"]
    lines = [[key.replace("_", " ") for key in keys], *([str(one[key]) for key in keys] for one in answer["top"])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


@click.command(short_help="Let the daemon read its file again.")
@SOCKET
def reload(socket_path: Path | None) -> None:
    """Let the running daemon read its file again.

    It prints what changed, and what requires a restart to change. A file with faults changes nothing; the faults are
    printed, and the exit code is 1.
    """
    answer = ask_daemon(socket_path, "POST", "/reload", RELOAD_TIMEOUT_S)
    if answer["errors"]:
        raise failure("\n".join(answer["errors"]))
    for change in answer["changes"]:
        click.echo(change)
    restart = answer.get("restart", [])
    for change in restart:
        click.echo(f"requires a restart: {change}")
    click.echo("reloaded" if answer["changes"] or restart else "reloaded, nothing changed")


@click.command(short_help="Hand over to the installed version.")
@SOCKET
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The interpreter of another installation, such as /opt/spectrum-2/bin/python.",
)
def upgrade(socket_path: Path | None, python: Path | None) -> None:
    """Let the installed version take over from the running daemon. Nothing is interrupted: new workers get the
    listening sockets and the UDP flows; TCP sessions continue in the old workers until they end, or for the file's
    handover_timeout. If the new version cannot serve the file, the old one continues, and the exit code is 1.
    """
    query = f"?{urlencode({'python': str(python.absolute())})}" if python else ""
    before = ask_daemon(socket_path, "GET", "/status")["version"]
    answer = ask_daemon(socket_path, "POST", f"/upgrade{query}", UPGRADE_ANSWER_S)
    if answer["errors"]:
        raise failure("\n".join(answer["errors"]))
    deadline = time.monotonic() + UPGRADE_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            status = ask(socket_path or default_control_socket(), "GET", "/status")
        except DaemonError:  # Between the two.
            status = {"pid": 0}
        if status["pid"] == answer["pid"] and not status["starting"]:
            click.echo(f"upgraded from {before} to {status['version']}, pid {answer['pid']}")
            return
        time.sleep(0.05)
    raise failure(f"pid {answer['pid']} took over and does not serve; see its log")
