"""`spectrum doctor`: whether this machine's network is ready for a configuration, and what is missing."""

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from spectrum.cli.options import AS_JSON, CONFIG, failure, load
from spectrum.core.configuration.config import Config
from spectrum.core.transparent import Requirement, exposed_origins, is_shown, requirements
from spectrum.kernel import pins
from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import local_addresses
from spectrum.kernel.transparent import NetworkError, how_to_install, is_installed, may_be_transparent, run


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of one thing: VERIFIED or MISSING, and how to mend it."""

    verified: bool
    title: str
    remedy: str = ""


def examine(config: Config) -> list[Finding]:
    """Look at everything that a file needs of this machine; nothing for most files."""
    return [*_examine_network(config), *_examine_kernel(config)]


def _examine_kernel(config: Config) -> Iterator[Finding]:
    """Look at what has eBPF programs, by loading them for a moment."""
    wanted = {
        "bindings": any(app.bindings for app in config.apps.values()),
        "filter": config.filter is not None,
        "udp_offload": config.udp_offload is not None,
    }
    for name in (name for name, is_wanted in wanted.items() if is_wanted):
        title = f"{name}: the kernel takes the program"
        try:
            pins.probe(name.removeprefix("udp_")).close()
        except (PinError, BpfError) as exc:
            yield Finding(False, title, str(exc))
        else:
            yield Finding(True, title)


def _examine_network(config: Config) -> list[Finding]:
    """Look at what the apps with `source: client`, `tproxy` or `bindings` need."""
    local = local_addresses()
    needed, exposed = requirements(config, local), exposed_origins(config, local)
    if not needed and not exposed:
        return []
    findings = [
        Finding(
            may_be_transparent(),
            "this user may use addresses that are not this machine's",
            "run as root, or with CAP_NET_RAW: `user:` in the file keeps it",
        )
    ]
    programs = dict.fromkeys(need.make[0] for need in needed)
    findings += [
        Finding(False, f"{name} is installed", how_to_install(name)) for name in programs if not is_installed(name)
    ]
    findings += [Finding(_is_there(need), need.title, _command(need)) for need in needed]
    findings += [
        Finding(
            False,
            f"the origin {address} listens where others reach it too",
            "let it listen on 127.0.0.1 or ::1, and name that as the origin",
        )
        for address in exposed
    ]
    return findings


def _is_there(need: Requirement) -> bool:
    try:
        return is_shown(need, run(need.question))
    except NetworkError:  # there is no such table, or no such program
        return False


def _command(need: Requirement) -> str:
    command = shlex.join(need.make)
    return f"echo {shlex.quote(need.text.strip())} | {command}" if need.text else command


def install(config: Config) -> None:
    """Make what is missing.

    Raises:
        NetworkError: If a command fails.
    """
    for need in requirements(config, local_addresses()):
        if not _is_there(need):
            run(need.make, need.text)


def uninstall(config: Config) -> None:
    """Remove what `install` makes for this configuration, as far as it is there.

    Raises:
        NetworkError: If a command fails.
    """
    for need in requirements(config, local_addresses()):
        while _is_there(need):
            run(need.undo)


def show(findings: Iterable[Finding]) -> bool:
    """Print findings for people; return whether all is well."""
    well = True
    for finding in findings:
        mark = click.style("VERIFIED", fg="green") if finding.verified else click.style("MISSING ", fg="red")
        click.echo(f"{mark}  {finding.title}")
        if not finding.verified:
            well = False
            click.echo(f"          {finding.remedy}")
    return well


@click.command(short_help="What this machine lacks for a file.")
@CONFIG
@click.option("--install", "makes", is_flag=True, help="Make what is missing.")
@click.option("--remove", "removes", is_flag=True, help="Remove what --install makes.")
@AS_JSON
def doctor(path: Path, makes: bool, removes: bool, as_json: bool) -> None:
    """Tell whether this machine is ready for addresses that are not its own, and for programs in the kernel.

    Each thing that the apps with `source: client`, `tproxy` or `bindings` need is VERIFIED, or MISSING with the command
    that makes it, and whether the kernel takes what `bindings`, `filter` and `udp_offload` ask of it; the exit code is
    1 where anything is missing. Rules and routes are gone after a reboot: let a unit run `spectrum doctor --install`.
    """
    config = load(path)
    try:
        if removes:
            uninstall(config)
        if makes:
            install(config)
    except NetworkError as exc:
        raise failure(str(exc)) from exc
    findings = examine(config)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    elif findings:
        show(findings)
    else:
        click.echo("nothing in the file needs more than any machine has")
    if not removes and not all(finding.verified for finding in findings):
        raise SystemExit(1)
