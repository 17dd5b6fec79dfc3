"""`spectrum kernel`: what of ours is in the kernel, whether or not a process of ours runs."""

import platform
from pathlib import Path

import click

from spectrum.cli.bindings import FILESYSTEM
from spectrum.kernel.bindings import LAYOUT, BindingError, Bindings, folder_of, unload
from spectrum.kernel.libbpf import BpfError, version


@click.group()
def kernel() -> None:
    """Show and remove the programs that this software has in the kernel."""


@kernel.command()
@FILESYSTEM
def status(filesystem: Path) -> None:
    """Tell which programs are attached, in which version, and why one is not."""
    try:
        click.echo(f"Linux {platform.release()}, libbpf {version()}")
    except BpfError as exc:
        click.echo(f"Linux {platform.release()}: {exc}")
    try:
        with Bindings(filesystem) as one:
            services, counts = one.services(), one.counts()
    except BindingError as exc:
        click.echo(f"bindings: off: {exc}")
    else:
        bound, without = sum(count for count, _ in services.values()), sum(not f for _, f in services.values())
        click.echo(
            f"bindings: on ({LAYOUT}): {bound} bindings of {len(services)} services, {without} without a socket; "
            + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        )
    mine = folder_of(filesystem)
    for other in sorted(filesystem.glob("spectrum-*")) if filesystem.is_dir() else ():
        if other != mine:
            same = other.name.split("-")[1] == mine.name.split("-")[1]
            click.echo(f"{other}: {'another version' if same else 'another network namespace, or one that is gone'}")


@kernel.command()
@FILESYSTEM
@click.option("--everywhere", is_flag=True, help="Those of other network namespaces and versions too.")
def detach(filesystem: Path, everywhere: bool) -> None:
    """Remove the programs of this network namespace from the kernel, and all that they know."""
    folders = sorted(filesystem.glob("spectrum-*")) if everywhere else [folder_of(filesystem)]
    removed = [folder for folder in folders if unload(folder)]
    for folder in removed:
        click.echo(f"removed {folder}")
    if not removed:
        click.echo("there is nothing of ours in the kernel")
