"""`spectrum mmproxy`: at an origin's machine, lets an unmodified service see clients' own addresses.

It is the proxy with one app: PROXY headers of trusted proxies come in, and the service is connected to from the address
that they tell. What it serves is an ordinary configuration, made from the command line and kept in memory: root writes
no file into a folder of the user that it becomes.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from spectrum.cli.doctor import examine, install, show
from spectrum.cli.options import failure
from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.control.daemon import serve
from spectrum.control.paths import default_control_socket
from spectrum.control.processes.account import AccountError, account
from spectrum.control.processes.starting import StartError
from spectrum.control.processes.succession import OPTION as SUCCEED
from spectrum.control.processes.succession import Predecessor
from spectrum.core.address import SocketAddress, host_text, parse_socket_address
from spectrum.core.configuration.config import MAX_WORKERS
from spectrum.kernel.folders import give_folder
from spectrum.kernel.sockets import ListenError, local_addresses
from spectrum.kernel.transparent import NetworkError


def configuration(
    listen: Sequence[SocketAddress],
    to: Sequence[SocketAddress],
    allow: Sequence[str],
    transports: Sequence[str],
    control: Path,
    user: str = "",
    metrics: str = "",
) -> str:
    """Return the configuration of an mmproxy, as the text of a file.

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
    lines = ["apps:"]
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


def _make_folder(folder: Path, user: str) -> None:
    """Make the folder of the control socket, for the user who is to have it there."""
    if not folder.exists():
        folder.mkdir(mode=0o755, parents=True)
        if user:
            entry = account(user)
            give_folder(folder, entry.pw_uid, entry.pw_gid)


@click.command(short_help="Show clients' own addresses to a service.")
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
@click.option(SUCCEED, "succeed", type=int, hidden=True)
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
    succeed: int | None,
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
        runtime = default_control_socket().parent
        control = socket_path or runtime / f"mmproxy-{addresses[0].port}" / "control.sock"
        transports = ("tcp", "udp") if protocol == "both" else (protocol,)
        drops = os.geteuid() == 0 and user != "root"
        text = configuration(addresses, services, allow, transports, control, user if drops else "", metrics)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    predecessor = Predecessor(succeed) if succeed is not None else None
    try:
        config = load_text(text, "mmproxy", local_addresses())
        if makes:
            install(config)
        if not show(examine(config)):
            raise StartError("not ready: --install makes the rules and routes that are missing")
        _make_folder(control.parent, user if drops else "")
    except (ConfigError, NetworkError, StartError, AccountError, OSError) as exc:
        if predecessor is not None:
            predecessor.refuse(str(exc).splitlines())
        raise failure(str(exc)) from exc
    os.environ["RUNTIME_DIRECTORY"] = str(runtime)  # for a successor, which is not root
    try:
        serve(None, config, workers, "INFO", False, predecessor)
    except (ListenError, StartError) as exc:
        raise failure(str(exc)) from exc
