"""`spectrum origin`: an origin to try things with."""

import click

from spectrum.cli.options import failure
from spectrum.core.address import parse_socket_address
from spectrum.origin.example import serve


@click.command(short_help="Run an example origin.")
@click.option("--tcp", "tcp", multiple=True, metavar="ADDR", help="Answer TCP here, such as 127.0.0.1:9000.")
@click.option("--udp", "udp", multiple=True, metavar="ADDR", help="Answer UDP here.")
def origin(tcp: tuple[str, ...], udp: tuple[str, ...]) -> None:
    """Run an example origin, which answers with what it knows of its client.

    It reads PROXY protocol v1 and v2 on TCP, Simple Proxy Protocol and PROXY protocol v2 on UDP, or no header at all,
    says who the client is, and then echoes.
    """
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
