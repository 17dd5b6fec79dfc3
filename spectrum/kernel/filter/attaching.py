"""Load the filter's program, attach it to interfaces, and take over the maps that a previous version has pinned."""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.detection import (
    DETECTION_MAPS,
    EGRESS,
    SMALL_TABLES,
    Detection,
    PinnedDetection,
    attach_egress,
)
from spectrum.kernel.filter.flow_programs import filter_constants
from spectrum.kernel.filter.former import take_over_rules
from spectrum.kernel.filter.pinned import MAPS
from spectrum.kernel.filter.tcp_protection import SMALL_TCP_TABLES, PinnedTcpProtection, TcpPolicies
from spectrum.kernel.outgrown import load_over, shape_of
from spectrum.kernel.pins import (
    DEFAULT_FILESYSTEM,
    PinError,
    attach_to_interfaces,
    folder_of,
    linked_interfaces,
    prepare,
    unload,
)


def load(interfaces: Collection[str], filesystem: Path = DEFAULT_FILESYSTEM) -> None:
    """Load the program and attach it to exactly these interfaces; an attached one is replaced atomically.

    Pinned lists, rules and settings stay, also those of a previous version; without any, everything passes.

    Raises:
        PinError: If an interface does not exist, or does not support the program.
    """
    folder = prepare(filesystem)
    _attach(folder, interfaces, bool(linked_interfaces(folder, EGRESS)))


def _attach(folder: Path, interfaces: Collection[str], detects: bool, protects: bool = False) -> None:
    """Load and attach the program, with detection also the one at egress; create empty tables at their full size."""
    small = ({} if detects else SMALL_TABLES) | ({} if protects else SMALL_TCP_TABLES)
    program = load_over(
        PROGRAM,
        folder,
        (*MAPS, *DETECTION_MAPS),
        _still_small(folder, small),
        filter_constants(),
        # Flow programs of a version before read a map that the filter no longer writes: they are loaded again.
        {"programs": "judging"},
    )
    try:
        take_over_rules(folder.parent)
        attach_to_interfaces(
            folder, PROGRAM, interfaces, program.program("filter"), partial(program.attach_to_interface, "filter")
        )
        if detects:
            attach_egress(program, folder, interfaces)
    finally:
        program.close()


def _still_small(folder: Path, small: Mapping[str, int]) -> dict[str, int]:
    """Return the tables that keep their small size, with their contents."""
    paths = {name: folder / f"{PROGRAM}_{name}" for name in small}
    return {
        name: entries
        for name, entries in small.items()
        if not paths[name].exists() or shape_of(paths[name]).entries <= entries
    }


def attached(filesystem: Path = DEFAULT_FILESYSTEM) -> list[str]:
    """Return the interfaces that the program is attached to."""
    return linked_interfaces(folder_of(filesystem), PROGRAM)


def remove(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Detach the program from all interfaces, and remove its lists; return whether it was attached."""
    folder = folder_of(filesystem)
    unload(folder, EGRESS)
    return unload(folder, PROGRAM)


def detect(settings: Detection, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
    """Configure detection. State of flows and sources is kept.

    Raises:
        PinError: If the program is not loaded, or the kernel refuses it.
    """
    folder, interfaces = folder_of(filesystem), attached(filesystem)
    looked = linked_interfaces(folder, EGRESS)
    if settings.is_on and looked != interfaces:
        try:
            _attach(folder, interfaces, True)
        except PinError:
            if not looked:
                unload(folder, EGRESS)
            raise
    with PinnedDetection(filesystem) as one:
        one.configure(settings)
    if not settings.is_on:
        unload(folder, EGRESS)


def protect(policies: TcpPolicies, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
    """Configure the policies of TCP protection. State of flows is kept.

    Raises:
        PinError: If the program is not loaded, or the kernel refuses it.
    """
    folder = folder_of(filesystem)
    with PinnedTcpProtection(filesystem) as one:
        begins = policies.is_on and not one.is_on
    if begins:
        _attach(folder, attached(filesystem), bool(linked_interfaces(folder, EGRESS)), True)
    with PinnedTcpProtection(filesystem) as one:
        one.hold(policies)
