"""`spectrum kernel`: Spectrum's programs in the kernel, whether or not a daemon runs."""

import platform
from collections.abc import Iterator
from pathlib import Path

import click

from spectrum.cli.bindings import FILESYSTEM
from spectrum.kernel.bindings import Bindings
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.libbpf import BpfError, version
from spectrum.kernel.offload import PinnedOffload
from spectrum.kernel.pins import LAYOUT, PinError, folder_of, is_bpf, unload

UNSEEN = """\
{0}: no BPF file system in this mount namespace, so programs that are attached cannot be seen from here.
Where a daemon has some, it has mounted one in its own namespace: nsenter -t PID -m -n spectrum kernel status
(PID is the daemon's). Each `ip netns exec` hides {0} behind a /sys of its own."""


@click.group(short_help="Show and remove programs in the kernel.")
def kernel() -> None:
    """Show and remove Spectrum's programs in the kernel."""


@kernel.command()
@FILESYSTEM
def status(filesystem: Path) -> None:
    """Show which programs are attached, their version, and why one is not. It reads the BPF file system, and needs no
    daemon. Each network namespace has programs of its own, and each mount namespace may have another BPF file system
    there (`ip netns exec` makes one): run it in the namespaces of the daemon, with its file's kernel.bpffs as --bpffs.
    """
    try:
        click.echo(f"Linux {platform.release()}, libbpf {version()}")
    except BpfError as exc:
        click.echo(f"Linux {platform.release()}: {exc}")
    if not is_bpf(filesystem):
        click.echo(UNSEEN.format(filesystem))
        return
    for name, describe in (("bindings", _bindings), ("filter", _filter), ("udp offload", _offload)):
        try:
            for line in describe(filesystem):
                click.echo(f"{name}: {line}")
        except PinError as exc:
            click.echo(f"{name}: off: {exc} (in {filesystem})")
    mine = folder_of(filesystem)
    for other in sorted(filesystem.glob("spectrum-*")) if filesystem.is_dir() else ():
        if other != mine:
            same = other.name.split("-")[1] == mine.name.split("-")[1]
            click.echo(f"{other}: {'another version' if same else 'another network namespace, or one that is gone'}")


def _bindings(filesystem: Path) -> Iterator[str]:
    with Bindings(filesystem) as one:
        services, counts = one.services(), one.counts()
    bound, without = sum(count for count, _ in services.values()), sum(not found for _, found in services.values())
    yield (
        f"on ({LAYOUT}): {bound} bindings of {len(services)} services, {without} without a socket; "
        + ", ".join(f"{count} {name}" for name, count in counts.items())
    )


def _filter(filesystem: Path) -> Iterator[str]:
    with PinnedFilter(filesystem) as one:
        settings, interfaces, counts = one.settings(), one.interfaces(), one.counts()
    syns = f", {settings.syns_per_second} SYNs per second of a destination" if settings.syns_per_second else ""
    rate = f", {settings.packets_per_second} packets per second of a source" if settings.packets_per_second else ""
    yield f"on ({LAYOUT}): {', '.join(interfaces)}{rate}{syns}{', dry run: nothing is dropped' * settings.dry_run}"
    for name, (packets, size) in counts.items():
        yield f"{name}: {packets} packets, {size} bytes"


def _offload(filesystem: Path) -> Iterator[str]:
    with PinnedOffload(filesystem) as one:
        found = one.status()
    yield f"on ({LAYOUT}): {', '.join(found.interfaces)}; {found.flows} flows"


@kernel.command()
@FILESYSTEM
@click.option("--everywhere", is_flag=True, help="Include those of other network namespaces and versions.")
def detach(filesystem: Path, everywhere: bool) -> None:
    """Remove the programs of this network namespace from the kernel, with all their state."""
    folders = sorted(filesystem.glob("spectrum-*")) if everywhere else [folder_of(filesystem)]
    removed = [folder for folder in folders if unload(folder)]
    for folder in removed:
        click.echo(f"removed {folder}")
    if not removed:
        click.echo("no program of Spectrum is in the kernel")
