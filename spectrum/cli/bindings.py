"""`spectrum bindings`: which service receives packets to a prefix and port, independent of listeners."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from spectrum.cli.options import failure
from spectrum.core.address import parse_address
from spectrum.kernel.bindings import PROGRAM, PROTOCOLS, Binding, Bindings, load
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, PinError, folder_of, unload
from spectrum.kernel.processes import sockets_of
from spectrum.kernel.sockets import bound_address

FILESYSTEM = click.option(
    "--bpffs",
    "filesystem",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_FILESYSTEM,
    show_default=True,
    envvar="SPECTRUM_BPFFS",
    help="The BPF file system in which objects are pinned.",
)


@contextmanager
def opened(filesystem: Path) -> Iterator[Bindings]:
    """Yield the bindings of this network namespace; errors become failures."""
    try:
        with Bindings(filesystem) as bindings:
            yield bindings
    except PinError as exc:
        hint = "; run `spectrum bindings load`" if "not loaded" in str(exc) else ""
        raise failure(f"{exc}{hint}") from exc


def _arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    for name in ("port", "prefix", "protocol", "label"):
        command = click.argument(name)(command)
    return command


def _parsed(label: str, protocol: str, prefix: str, port: str) -> Binding:
    from spectrum.control.bindings import parse_binding

    try:
        return parse_binding(label, protocol, prefix, port)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


@click.group(short_help="Steer prefixes and ports to services.")
def bindings() -> None:
    """Steer addresses and ports to services, in the kernel (sk_lookup, Linux 5.10).

    Packets to a bound prefix and port go to the service's socket, whatever address and port it is bound to. The longest
    prefix wins, then a specific port before any (0). While a service has no socket, packets to it are refused, and no
    other program receives them. Bindings change without a restart and without effect on open connections. They persist
    without a Spectrum process.
    """


@bindings.command("load")
@FILESYSTEM
def load_command(filesystem: Path) -> None:
    """Attach the program to this network namespace, or replace one of another version."""
    try:
        replaced = load(filesystem)
    except PinError as exc:
        raise failure(str(exc)) from exc
    click.echo("the program was replaced" if replaced else "the program is attached")


@bindings.command("unload")
@FILESYSTEM
def unload_command(filesystem: Path) -> None:
    """Detach the program, and remove all bindings."""
    click.echo("the program is detached" if unload(folder_of(filesystem), PROGRAM) else "there is no program")


@bindings.command("list")
@FILESYSTEM
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_command(filesystem: Path, as_json: bool) -> None:
    """Print bindings, the services' sockets, and counters."""
    with opened(filesystem) as one:
        if as_json:
            click.echo(json.dumps(one.document(), indent=2))
            return
        found, services, counts = one.all(), one.services(), one.counts()
    for binding in found:
        families = services.get((binding.label, binding.protocol), (0, []))[1]
        family = f"ipv{binding.prefix.version}"
        click.echo(f"{binding}{'' if family in families else '  (no socket: refused)'}")
    click.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))


@bindings.command("bind")
@_arguments
@FILESYSTEM
def bind_command(label: str, protocol: str, prefix: str, port: str, filesystem: Path) -> None:
    """Bind PREFIX and PORT (0 for any) of PROTOCOL (tcp, udp) to the service LABEL."""
    binding = _parsed(label, protocol, prefix, port)
    with opened(filesystem) as one:
        one.bind(binding)


@bindings.command("unbind")
@_arguments
@FILESYSTEM
def unbind_command(label: str, protocol: str, prefix: str, port: str, filesystem: Path) -> None:
    """Remove a binding."""
    binding = _parsed(label, protocol, prefix, port)
    with opened(filesystem) as one:
        one.unbind(binding)


@bindings.command("apply")
@click.argument("file", type=click.File("r"))
@FILESYSTEM
def apply_command(file: Any, filesystem: Path) -> None:
    """Replace all bindings by those of FILE (- for standard input), one per line: LABEL PROTOCOL PREFIX PORT."""
    from spectrum.control.bindings import parse_binding

    wanted = []
    for number, line in enumerate(file, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 4:
            raise failure(f"{file.name}:{number}: expected LABEL PROTOCOL PREFIX PORT, found {line.strip()!r}")
        try:
            wanted.append(parse_binding(*words))
        except ValueError as exc:
            raise failure(f"{file.name}:{number}: {exc}") from exc
    with opened(filesystem) as one:
        came, went = one.apply(wanted)
    click.echo(f"{came} bound, {went} unbound")


@bindings.command("register")
@click.argument("pid", type=int)
@click.argument("label")
@click.argument("protocol", type=click.Choice(sorted(PROTOCOLS)))
@click.argument("address")
@click.argument("port", type=click.IntRange(1, 65535))
@FILESYSTEM
def register_command(pid: int, label: str, protocol: str, address: str, port: int, filesystem: Path) -> None:
    """Register the socket of process PID that is bound to ADDRESS and PORT as that of the service LABEL. The program
    itself is not involved. One of several sockets that share the port (SO_REUSEPORT) stands for all.
    """
    try:
        wanted = parse_address(address)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc
    with opened(filesystem) as one:
        try:
            for sock in sockets_of(pid):
                with sock:
                    if _is_bound(sock, protocol, str(wanted), port):
                        families = one.register(label, sock)
                        click.echo(f"{label} {protocol} has a socket for {' and '.join(families)}")
                        return
        except OSError as exc:
            raise failure(f"process {pid}: {(exc.strerror or str(exc)).lower()}") from exc
    raise failure(f"process {pid} has no {protocol} socket on {address} port {port}")


def _is_bound(sock: socket.socket, protocol: str, address: str, port: int) -> bool:
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) != PROTOCOLS[protocol]:
        return False
    if protocol == "tcp" and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    return bound_address(sock) == (address, port)
