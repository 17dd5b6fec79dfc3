"""`spectrum doctor`: whether this machine meets the requirements of a configuration."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from spectrum.cli.options import AS_JSON, CONFIG, failure, load
from spectrum.control.doctor import Finding, examine, is_there
from spectrum.core.configuration.config import Config
from spectrum.core.transparent import requirements
from spectrum.kernel.sockets import local_addresses
from spectrum.kernel.transparent import NetworkError, run


def install(config: Config) -> None:
    """Create what is missing.

    Raises:
        NetworkError: If a command fails.
    """
    for need in requirements(config, local_addresses()):
        if not is_there(need):
            run(need.make, need.text)


def uninstall(config: Config) -> None:
    """Remove what `install` creates for this configuration, as far as it exists.

    Raises:
        NetworkError: If a command fails.
    """
    for need in requirements(config, local_addresses()):
        while is_there(need):
            run(need.undo)


def show(findings: Iterable[Finding]) -> bool:
    """Print the results of checks; return whether all requirements are met."""
    well = True
    for finding in findings:
        mark = click.style("VERIFIED", fg="green") if finding.verified else click.style("MISSING ", fg="red")
        click.echo(f"{mark}  {finding.title}")
        if not finding.verified:
            well = False
            click.echo(f"          {finding.remedy}")
    return well


@click.command(short_help="Check what this machine lacks for a file.")
@CONFIG
@click.option("--install", "makes", is_flag=True, help="Create what is missing.")
@click.option("--remove", "removes", is_flag=True, help="Remove what --install creates.")
@AS_JSON
def doctor(path: Path, makes: bool, removes: bool, as_json: bool) -> None:
    """Tell whether this machine is ready for low ports, addresses that are not its own, and programs in the kernel.

    Each thing that the apps with `source: client`, `tproxy` or `bindings` need is VERIFIED, or MISSING with the command
    that makes it. So is whether this user may listen on ports below 1024, whether the kernel takes what `bindings`,
    `filter` and `udp_offload` require, and whether the disk has room for `analytics`. The exit code is 1 where
    anything is missing. Rules and routes are gone after a reboot: let a unit run `spectrum doctor --install`.
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
        click.echo("the file has no special requirements")
    if not removes and not all(finding.verified for finding in findings):
        raise SystemExit(1)
