"""`spectrum origin`: an example origin, and overrides of origins in the running daemon."""

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
@click.option("--tcp", "tcp", multiple=True, metavar="ADDR", help="Address for TCP, such as 127.0.0.1:9000.")
@click.option("--udp", "udp", multiple=True, metavar="ADDR", help="Address for UDP.")
@click.pass_context
def origin(ctx: click.Context, tcp: tuple[str, ...], udp: tuple[str, ...]) -> None:
    """Set an override of an origin in the running daemon's pools; or, with --tcp or --udp, run an example origin.
    Overrides persist over reloads, upgrades and restarts until they are undone. The example origin reads PROXY protocol
    v1 and v2 on TCP, Simple Proxy Protocol and PROXY protocol v2 on UDP, or no header. It sends the client's address,
    and then echoes.
    """
    if ctx.invoked_subcommand is not None:
        if tcp or udp:
            raise click.UsageError("--tcp and --udp run the example origin and cannot be combined with a command")
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


@origin.command(short_help="Send no new clients to an origin; open sessions continue.")
@SOCKET
@NAME
def drain(socket_path: Path | None, name: str) -> None:
    """Send no new clients to an origin, not even with affinity; its sessions and flows continue."""
    _set(socket_path, "drain", name)


@origin.command(short_help="Treat an origin as down.")
@SOCKET
@NAME
def disable(socket_path: Path | None, name: str) -> None:
    """Treat an origin as down: no new clients. Its UDP flows get another origin, its TCP sessions continue."""
    _set(socket_path, "disable", name)


@origin.command(short_help="End `drain` or `disable`.")
@SOCKET
@NAME
def enable(socket_path: Path | None, name: str) -> None:
    """Send clients to an origin again, if it is healthy."""
    _set(socket_path, "enable", name)


@origin.command(short_help="Override the weight of an origin.")
@SOCKET
@NAME
@click.argument("value", type=click.FloatRange(0, 1), required=False)
def weight(socket_path: Path | None, name: str, value: float | None) -> None:
    """Override the weight of an origin, from 0 to 1; without VALUE, use that of the file again."""
    _set(socket_path, "weight", name, value)


def _set(socket_path: Path | None, what: str, name: str, value: float | None = None) -> None:
    query = {"origin": name} | ({} if value is None else {"value": f"{value:g}"})
    answer = ask_daemon(socket_path, "POST", f"/origins/{what}?{urlencode(query)}")
    if "errors" in answer:
        raise failure("\n".join(answer["errors"]))
    click.echo(answer["message"])
