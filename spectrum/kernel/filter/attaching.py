"""Load the filter's program, attach it to interfaces, and take over what a version before has pinned."""

from collections.abc import Collection
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
    has_full_tables,
)
from spectrum.kernel.filter.former import take_over_rules
from spectrum.kernel.filter.pinned import MAPS
from spectrum.kernel.outgrown import load_over
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

    Lists, rules and settings that are pinned stay, also those of a version before; at first there are none, and
    everything passes.

    Raises:
        PinError: If an interface does not exist, or cannot have it.
    """
    folder = prepare(filesystem)
    _attach(folder, interfaces, bool(linked_interfaces(folder, EGRESS)))


def _attach(folder: Path, interfaces: Collection[str], is_on: bool) -> None:
    """Load and attach the program, and with detection that at egress."""
    has_tables = is_on or has_full_tables(folder)
    program = load_over(PROGRAM, folder, (*MAPS, *DETECTION_MAPS), {} if has_tables else SMALL_TABLES)
    try:
        take_over_rules(folder.parent)
        attach_to_interfaces(
            folder, PROGRAM, interfaces, program.program("filter"), partial(program.attach_to_interface, "filter")
        )
        if is_on:
            attach_egress(program, folder, interfaces)
    finally:
        program.close()


def attached(filesystem: Path = DEFAULT_FILESYSTEM) -> list[str]:
    """Return the interfaces that the program is attached to."""
    return linked_interfaces(folder_of(filesystem), PROGRAM)


def remove(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Detach the program from all interfaces, and remove its lists; return whether there was one."""
    folder = folder_of(filesystem)
    unload(folder, EGRESS)
    return unload(folder, PROGRAM)


def detect(settings: Detection, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
    """Look for attacks from now on, or in another way, or no longer. What is known of flows and sources stays.

    Raises:
        PinError: If the program is not loaded, or the kernel does not take it.
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
