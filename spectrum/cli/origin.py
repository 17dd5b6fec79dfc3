"""`spectrum origin`: an origin to try things with, and what is done to origins of the running daemon by hand."""

from pathlib import Path
from urllib.parse import urlencode

import click

from spectrum.cli.completion import complete_origins
from spectrum.cli.options import SOCKET, ask_daemon, failure
from spectrum.core.address import parse_socket_address
from spectrum.origin.example import serve

NAME = click.argument("name", metavar="POOL/ORIGIN", shell_complete=complete_origins)


@click.group(
    invoke_without_command=True,
    short_help="Take an origin out of service, give it a weight, or run an example origin.",
)
@click.option("--tcp", "tcp", multiple=True, metavar="ADDR", help="Answer TCP here, such as 127.0.0.1:9000.")
@click.option("--udp", "udp", multiple=True, metavar="ADDR", help="Answer UDP here.")
@click.pass_context
def origin(ctx: click.Context, tcp: tuple[str, ...], udp: tuple[str, ...]) -> None:
    """Set an origin of the running daemon's pools by hand; or, with --tcp or --udp, run an example origin.

    What is set by hand lasts until it is undone, over reloads, upgrades and restarts.

    The example origin answers with what it knows of its client. It reads PROXY protocol v1 and v2 on TCP, Simple Proxy
    Protocol and PROXY protocol v2 on UDP, or no header at all, says who the client is, and then echoes.
    """
    if ctx.invoked_subcommand is not None:
        if tcp or udp:
            raise click.UsageError("--tcp and --udp are for the example origin, which has no command")
        return
    if not tcp and not udp:
        raise click.UsageError("name at least one address: --tcp 127.0.0.1:9000")
    try:
        serve(_addresses(tcp), _addresses(udp))
    except OSError as exc:
        raise failure((exc.strerror or str(exc)).lower()) from exc


def _addresses(texts: tuple[str, ...]) -> list[tuple[str, int]]:
    try:
        return [(str(parsed.address), parsed.port) for parsed in map(parse_socket_address, texts)]
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


@origin.command(short_help="Send no new clients there, and keep those that are there.")
@SOCKET
@NAME
def drain(socket_path: Path | None, name: str) -> None:
    """Send no new clients to an origin, also none with affinity; its sessions and flows go on."""
    _set(socket_path, "drain", name)


@origin.command(short_help="Treat an origin as if it were down.")
@SOCKET
@NAME
def disable(socket_path: Path | None, name: str) -> None:
    """Treat an origin as if it were down: no new clients. Its UDP flows get another origin, its TCP sessions go on."""
    _set(socket_path, "disable", name)


@origin.command(short_help="End a drain, or what `disable` did.")
@SOCKET
@NAME
def enable(socket_path: Path | None, name: str) -> None:
    """Send clients to an origin again, as far as it is healthy."""
    _set(socket_path, "enable", name)


@origin.command(short_help="Give an origin another weight than the file.")
@SOCKET
@NAME
@click.argument("value", type=click.FloatRange(0, 1), required=False)
def weight(socket_path: Path | None, name: str, value: float | None) -> None:
    """Give an origin another weight than the file, from 0 to 1; without VALUE, that of the file again."""
    _set(socket_path, "weight", name, value)


def _set(socket_path: Path | None, what: str, name: str, value: float | None = None) -> None:
    query = {"origin": name} | ({} if value is None else {"value": f"{value:g}"})
    answer = ask_daemon(socket_path, "POST", f"/origins/{what}?{urlencode(query)}")
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    click.echo(answer["message"])
