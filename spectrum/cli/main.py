"""The `spectrum` command.

Exit codes: 0 done; 1 it could not be done (a file with faults, an address in use, no daemon); 2 a wrong command line.
"""

import json
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import click

from spectrum import __version__
from spectrum.cli.bindings import bindings
from spectrum.cli.client import DaemonError, ask
from spectrum.cli.doctor import doctor
from spectrum.cli.kernel import kernel
from spectrum.cli.mmproxy import mmproxy
from spectrum.cli.options import CONFIG, SOCKET, ask_daemon, failure, load
from spectrum.control.loader import ConfigError, load_file
from spectrum.control.succession import OPTION as SUCCEED
from spectrum.control.succession import Predecessor
from spectrum.control.supervisor import StartError, default_control_socket, serve
from spectrum.core.config import MAX_WORKERS
from spectrum.kernel.sockets import ListenError

PIPE_WIDTH = 250
UPGRADE_TIMEOUT_S = 60.0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="spectrum")
def main() -> None:
    """Spectrum, a self-hosted layer-4 edge.

    One file describes apps: what they listen on and which origins they lead to. `spectrum check` tests a file,
    `spectrum run` serves it, `spectrum status` shows what goes on, `spectrum reload` takes changes without losing a
    session.
    """


@main.command()
@CONFIG
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), help="Number of workers, instead of the file's.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Which of the daemon's own messages to show, on standard error.",
)
@click.option("--watch", is_flag=True, help="Reload when the file changes.")
@click.option(SUCCEED, "succeed", type=int, hidden=True)
def run(path: Path, workers: int | None, log_level: str, watch: bool, succeed: int | None) -> None:
    """Serve the apps of a file.

    Session records go to standard output, one line each; messages to standard error. SIGTERM or Ctrl-C drains: no new
    sessions, and those that are open get the file's drain_timeout; a second signal ends them. SIGHUP reloads the file.
    """
    predecessor = Predecessor(succeed) if succeed is not None else None
    try:
        config = load_file(path)
    except ConfigError as exc:
        if predecessor is not None:
            predecessor.refuse([str(diagnostic) for diagnostic in exc.diagnostics])
        raise failure(str(exc)) from exc
    try:
        serve(path, config, workers, log_level.upper(), watch, predecessor)
    except (ListenError, StartError) as exc:
        raise failure(str(exc)) from exc


@main.command()
@CONFIG
def check(path: Path) -> None:
    """Check a file and print every fault with its line and column."""
    config = load(path)
    listeners = sum(len(app.bound_ports) * max(1, len(app.addresses)) for app in config.apps.values())
    apps = len(config.apps)
    click.echo(f"{path}: {apps} app{'s' * (apps != 1)} on {listeners} listener{'s' * (listeners != 1)}, no faults")


@main.command()
@SOCKET
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(socket_path: Path | None, as_json: bool) -> None:
    """Show the running daemon: apps, listeners, sessions, bytes, origins."""
    answer = ask_daemon(socket_path, "GET", "/status")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    from rich.console import Console

    from spectrum.cli.show import show_status

    # A pipe has no width: nothing is folded there.
    show_status(answer, Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH))


@main.command()
@SOCKET
@click.option("--app", required=True, help="The app that the client writes to.")
@click.option("--client", required=True, metavar="ADDRESS", help="The client's IP address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The client's port, where that counts.")
def explain(socket_path: Path | None, app: str, client: str, port: int) -> None:
    """Print step by step where a client would go now, and why."""
    answer = ask_daemon(socket_path, "GET", f"/explain?{urlencode({'app': app, 'client': client, 'port': port})}")
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    for number, step in enumerate(answer["steps"], 1):
        click.echo(f"{number}. {step}")


@main.command()
@SOCKET
@click.option(
    "--by",
    default="verdict,source,protocol,destination_port",
    show_default=True,
    metavar="FIELDS",
    help="verdict, source, destination, protocol, source_port, destination_port, length, ttl, tcp_flags.",
)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="So far back.")
@click.option("--count", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many at most.")
def samples(socket_path: Path | None, by: str, seconds: float, count: int) -> None:
    """Print what packets came in most of lately, by the filter's samples."""
    answer = ask_daemon(socket_path, "GET", f"/samples?{urlencode({'by': by, 'seconds': seconds, 'count': count})}")
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    keys = [*by.split(","), "packets_per_second", "bytes_per_second"]
    lines = [[key.replace("_", " ") for key in keys], *([str(one[key]) for key in keys] for one in answer["top"])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


@main.command()
@SOCKET
def reload(socket_path: Path | None) -> None:
    """Let the running daemon read its file again.

    It prints what changed. A file with faults changes nothing; the faults are printed, and the exit code is 1.
    """
    answer = ask_daemon(socket_path, "POST", "/reload")
    if answer["errors"]:
        raise failure("\n".join(answer["errors"]))
    for change in answer["changes"]:
        click.echo(change)
    click.echo("reloaded" if answer["changes"] else "reloaded, nothing changed")


@main.command()
@SOCKET
@click.option(
    "--python",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The interpreter of another installation, such as /opt/spectrum-2/bin/python.",
)
def upgrade(socket_path: Path | None, python: Path | None) -> None:
    """Let the version that is installed now take over from the running daemon.

    Nothing is interrupted: new workers get the listening sockets and the UDP flows; TCP sessions go on in the old
    workers until they end, or for the file's handover_timeout. Where the new version can not serve the file, the old
    one goes on, and the exit code is 1.
    """
    query = f"?{urlencode({'python': str(python.absolute())})}" if python else ""
    before = ask_daemon(socket_path, "GET", "/status")["version"]
    answer = ask_daemon(socket_path, "POST", f"/upgrade{query}")
    if answer["errors"]:
        raise failure("\n".join(answer["errors"]))
    deadline = time.monotonic() + UPGRADE_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            status = ask(socket_path or default_control_socket(), "GET", "/status")
        except DaemonError:  # between the two
            status = {"pid": 0}
        if status["pid"] == answer["pid"] and status["generation"]:
            click.echo(f"upgraded from {before} to {status['version']}, pid {answer['pid']}")
            return
        time.sleep(0.05)
    raise failure(f"pid {answer['pid']} took over and does not serve; see its log")


@main.command()
@click.option("--tcp", "tcp", multiple=True, metavar="ADDR", help="Answer TCP here, such as 127.0.0.1:9000.")
@click.option("--udp", "udp", multiple=True, metavar="ADDR", help="Answer UDP here.")
def origin(tcp: tuple[str, ...], udp: tuple[str, ...]) -> None:
    """Run an example origin, which answers with what it knows of its client.

    It reads PROXY protocol v1 and v2 on TCP, Simple Proxy Protocol and PROXY protocol v2 on UDP, or no header at all,
    says who the client is, and then echoes.
    """
    if not tcp and not udp:
        raise click.UsageError("name at least one address: --tcp 127.0.0.1:9000")
    from spectrum.core.address import parse_socket_address
    from spectrum.origin.example import serve as serve_origin

    def addresses(texts: tuple[str, ...]) -> list[tuple[str, int]]:
        try:
            return [(str(parsed.address), parsed.port) for parsed in map(parse_socket_address, texts)]
        except ValueError as exc:
            raise click.UsageError(str(exc)) from exc

    try:
        serve_origin(addresses(tcp), addresses(udp))
    except OSError as exc:
        raise failure((exc.strerror or str(exc)).lower()) from exc


main.add_command(bindings)
main.add_command(doctor)
main.add_command(kernel)
main.add_command(mmproxy)
