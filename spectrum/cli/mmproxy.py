"""`spectrum mmproxy`: on an origin's machine, passes clients' addresses to an unmodified service. It is the proxy with
one app: it reads PROXY headers of trusted proxies, and connects to the service with the client's address as source. Its
configuration is built from the command line: root writes no file into a folder of the user that it switches to.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from spectrum.cli.doctor import install, show
from spectrum.cli.options import failure
from spectrum.control.configuration.source import ObjectSource
from spectrum.control.daemon import serve
from spectrum.control.doctor import examine
from spectrum.control.paths import default_control_socket
from spectrum.control.processes.account import AccountError, make_folder
from spectrum.control.processes.starting import StartError
from spectrum.control.processes.succession import OPTION as SUCCEED
from spectrum.control.processes.succession import Predecessor
from spectrum.core.address import SocketAddress, host_text, parse_socket_address
from spectrum.core.configuration.config import MAX_WORKERS
from spectrum.core.configuration.faults import Fault
from spectrum.kernel.sockets import ListenError
from spectrum.kernel.transparent import NetworkError

# The option for a fault, by its path in an app, and top-level.
_OPTIONS_OF_APP = {
    "edge_ips": "--listen",
    "protocol": "--listen",
    "origin_direct": "--to",
    "accept_proxy_protocol": "--allow",
}
_OPTIONS = {"control": "--socket", "user": "--user", "metrics": "--metrics"}


def source(
    listen: Sequence[str],
    to: Sequence[str],
    allow: Sequence[str],
    transports: Sequence[str],
    control: Path,
    user: str = "",
    metrics: str = "",
) -> ObjectSource:
    """Return the source of an mmproxy's configuration, whose faults speak of options.

    Args:
        listen: The listeners for the proxies in front, all with one port.
        to: The service: an address for IPv4 clients, one for IPv6 clients, or both; of one port for each family.
        allow: The prefixes of trusted proxies.
        transports: "tcp", "udp" or both.
        control: The path of the control socket.
        user: The user that root switches to; empty for none.
        metrics: The address for metrics; empty for none.

    Raises:
        ValueError: If an address is not valid, or `listen` has several ports.
    """
    listening, services = _addresses("--listen", listen), _addresses("--to", to)
    if len({address.port for address in listening}) != 1:
        raise ValueError("--listen: one port for all addresses; run one mmproxy for each port")
    values: dict[str, Any] = {
        "apps": {
            transport: {
                "protocol": f"{transport}/{listening[0].port}",
                "edge_ips": [str(address.address) for address in listening],
                "origin_direct": [f"{transport}://{host_text(one.address)}:{one.port}" for one in services],
                "accept_proxy_protocol": {"from": list(allow)},
                "source": "client",
            }
            for transport in transports
        },
        "seccomp": True,
        "control": {"socket": str(control)},
    }
    values |= {"user": user} if user else {}
    values |= {"metrics": {"listen": metrics}} if metrics else {}
    return ObjectSource("the command line", values, _explain)


def _addresses(option: str, texts: Sequence[str]) -> list[SocketAddress]:
    try:
        return [parse_socket_address(text) for text in texts]
    except ValueError as exc:
        raise ValueError(f"{option}: {exc}") from exc


def _explain(fault: Fault) -> str:
    of_app = fault.path[:1] == ("apps",) and len(fault.path) > 2
    option = _OPTIONS_OF_APP.get(str(fault.path[2])) if of_app else _OPTIONS.get(str(fault.path[0]))
    return f"{option}: {fault.message}" if option else fault.message


@click.command(short_help="Show clients' own addresses to a service.")
@click.option(
    "--listen",
    "listen",
    multiple=True,
    required=True,
    metavar="ADDR",
    help="Address and port for the proxies in front.",
)
@click.option("--to", "to", multiple=True, required=True, metavar="ADDR", help="The service, such as 127.0.0.1:22.")
@click.option("--allow", "allow", multiple=True, required=True, metavar="PREFIX", help="Prefixes of trusted proxies.")
@click.option("--protocol", type=click.Choice(["tcp", "udp", "both"]), default="tcp", show_default=True)
@click.option("--user", default="nobody", show_default=True, help="The user that root switches to; root for none.")
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), help="Number of workers; one per core.")
@click.option("--metrics", default="", metavar="ADDR", help="Address and port for Prometheus.")
@click.option("--install", "makes", is_flag=True, help="Create the rules and routes that are missing.")
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
    """Pass clients' addresses to an unmodified service on this machine. Proxies in front send PROXY protocol v1 or v2
    (TCP), Simple Proxy Protocol or PROXY protocol v2 in any dialect (UDP). Connections to the service have the address
    in the header as source. It needs root, and what `--install` creates: rules and routes that keep the service's
    answers on this machine.

    \b
        spectrum mmproxy --listen 0.0.0.0:2222 --to 127.0.0.1:22 --to [::1]:22 --allow 10.0.0.0/8 --install
    """
    try:
        runtime = default_control_socket().parent
        control = socket_path or runtime / f"mmproxy-{_addresses('--listen', listen)[0].port}" / "control.sock"
        transports = ("tcp", "udp") if protocol == "both" else (protocol,)
        drops = os.geteuid() == 0 and user != "root"
        given = source(listen, to, allow, transports, control, user if drops else "", metrics)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    predecessor = Predecessor(succeed) if succeed is not None else None
    revision = given.read()
    if (config := revision.config) is None:
        if predecessor is not None:
            predecessor.refuse(revision.faults)
        raise click.UsageError("\n".join(revision.faults))
    try:
        if makes:
            install(config)
        if not show(examine(config)):
            raise StartError("rules and routes are missing: --install creates them")
        make_folder(control.parent, user)
    except (NetworkError, StartError, AccountError, OSError) as exc:
        if predecessor is not None:
            predecessor.refuse(str(exc).splitlines())
        raise failure(str(exc)) from exc
    os.environ["RUNTIME_DIRECTORY"] = str(runtime)  # For a successor, which does not run as root.
    try:
        serve(given, config, workers, "INFO", predecessor)
    except (ListenError, StartError) as exc:
        raise failure(str(exc)) from exc
