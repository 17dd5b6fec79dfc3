"""`spectrum mmproxy`: at an origin's machine, lets an unmodified service see clients' own addresses.

It is the proxy with one app: PROXY headers of trusted proxies come in, and the service is connected to from the address
that they tell. What it serves is an ordinary configuration file, written beside the control socket.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from spectrum.cli.doctor import examine, install, show
from spectrum.cli.options import failure, load
from spectrum.control.account import AccountError, account
from spectrum.control.paths import default_control_socket
from spectrum.control.supervisor import StartError, serve
from spectrum.core.address import SocketAddress, host_text, parse_socket_address
from spectrum.core.config import MAX_WORKERS
from spectrum.kernel.sockets import ListenError
from spectrum.kernel.transparent import NetworkError

HEADER = "# Written by `spectrum mmproxy`, and read again by `spectrum reload`.\n"


def configuration(
    listen: Sequence[SocketAddress],
    to: Sequence[SocketAddress],
    allow: Sequence[str],
    transports: Sequence[str],
    control: Path,
    user: str = "",
    metrics: str = "",
) -> str:
    """Return the file for an mmproxy.

    Args:
        listen: Where the proxies in front send; of one port.
        to: The service: an address for IPv4 clients, one for IPv6 clients, or both; of one port for each family.
        allow: The prefixes of the proxies that are believed.
        transports: "tcp", "udp" or both.
        control: The path of the control socket.
        user: Whom root becomes; empty to stay.
        metrics: Where metrics are served; empty for nowhere.

    Raises:
        ValueError: If `listen` has several ports.
    """
    ports = {address.port for address in listen}
    if len(ports) != 1:
        raise ValueError("--listen: one port for all addresses; run one mmproxy for each port")
    addresses = ", ".join(f'"{address.address}"' for address in listen)
    believed = ", ".join(f'"{prefix}"' for prefix in allow)
    lines = [HEADER + "apps:"]
    for transport in transports:
        origins = ", ".join(f'"{transport}://{host_text(address.address)}:{address.port}"' for address in to)
        lines += [
            f"  {transport}:",
            f"    protocol: {transport}/{listen[0].port}",
            f"    edge_ips: [{addresses}]",
            f"    origin_direct: [{origins}]",
            f"    accept_proxy_protocol: {{from: [{believed}]}}",
            "    source: client",
        ]
    lines += ["seccomp: true", f'control: {{socket: "{control}"}}']
    if user:
        lines.append(f"user: {user}")
    if metrics:
        lines.append(f'metrics: {{listen: "{metrics}"}}')
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str, user: str) -> None:
    """Write the file into a folder that is the user's, if it is made here: the control socket is to be there too."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        if user:
            entry = account(user)
            os.chown(path.parent, entry.pw_uid, entry.pw_gid)
    path.write_text(text, encoding="utf-8")


@click.command()
@click.option(
    "--listen", "listen", multiple=True, required=True, metavar="ADDR", help="Where the proxies in front send."
)
@click.option("--to", "to", multiple=True, required=True, metavar="ADDR", help="The service, such as 127.0.0.1:22.")
@click.option("--allow", "allow", multiple=True, required=True, metavar="PREFIX", help="Proxies that are believed.")
@click.option("--protocol", type=click.Choice(["tcp", "udp", "both"]), default="tcp", show_default=True)
@click.option("--user", default="nobody", show_default=True, help="Whom root becomes; root to stay.")
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), help="Number of workers; one per core.")
@click.option("--metrics", default="", metavar="ADDR", help="Where Prometheus scrapes.")
@click.option("--install", "makes", is_flag=True, help="Make the rules and routes that are missing.")
@click.option("--socket", "socket_path", type=click.Path(path_type=Path), help="The control socket.")
def mmproxy(
    listen: tuple[str, ...],
    to: tuple[str, ...],
    allow: tuple[str, ...],
    protocol: str,
    user: str,
    workers: int | None,
    metrics: str,
    makes: bool,
    socket_path: Path | None,
) -> None:
    """Let an unmodified service on this machine see clients' own addresses.

    Proxies in front send PROXY protocol v1 or v2 (TCP), Simple Proxy Protocol or PROXY protocol v2 in any dialect
    (UDP). The service is connected to from the address that the header tells. Needs root, and what `--install` makes:
    rules and routes that keep the service's answers on this machine.

    \b
        spectrum mmproxy --listen 0.0.0.0:2222 --to 127.0.0.1:22 --to [::1]:22 --allow 10.0.0.0/8 --install
    """
    try:
        addresses = [parse_socket_address(text) for text in listen]
        services = [parse_socket_address(text) for text in to]
        control = socket_path or default_control_socket().parent / f"mmproxy-{addresses[0].port}" / "control.sock"
        transports = ("tcp", "udp") if protocol == "both" else (protocol,)
        drops = os.geteuid() == 0 and user != "root"
        text = configuration(addresses, services, allow, transports, control, user if drops else "", metrics)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    path = control.with_suffix(".yaml")
    try:
        _write(path, text, user if drops else "")
    except (OSError, AccountError) as exc:
        raise failure(f"{path}: {exc}") from exc
    config = load(path)
    try:
        if makes:
            install(config)
    except NetworkError as exc:
        raise failure(str(exc)) from exc
    if not show(examine(config)):
        raise failure("not ready: --install makes the rules and routes that are missing")
    try:
        serve(path, config, workers, "INFO", False)
    except (ListenError, StartError) as exc:
        raise failure(str(exc)) from exc
