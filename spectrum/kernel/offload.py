"""UDP flows that the kernel forwards at ingress (tc); the program is bpf/offload.bpf.c.

This loads and attaches it; the engine of each worker fills its tables (engine/offload.pyx).
"""

import fcntl
import socket
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spectrum.kernel.libbpf import Map
from spectrum.kernel.pins import (
    DEFAULT_FILESYSTEM,
    PinError,
    Pinned,
    attach_to_interfaces,
    folder_of,
    linked_interfaces,
    prepare,
    unload,
)
from spectrum.kernel.pins import load as load_program

PROGRAM = "offload"
# As in bpf/offload.h: struct offload_tuple, offload_way and offload_tally.
TUPLE = struct.Struct("=16s16sHH")
WAY = struct.Struct("=16s16sHHIIBB64s2x")
TALLY = struct.Struct("=QQQQ")
MAX_WORKERS = 256
MAPS = {"flows": (TUPLE.size, WAY.size), "tallies": (4, TALLY.size), "leases": (4, 8)}
# ioctl(2), linux/sockios.h; linux/if_arp.h.
_SIOCGIFHWADDR = 0x8927
_ETHERNET, _LOOPBACK = 1, 772
# Packets that are rewritten are routed as what this machine sends itself, which the kernel looks up for a program only
# where lo forwards; those for this machine come in by lo, with addresses of this machine at both ends. All of it is
# about packets that come from lo alone (Documentation/networking/ip-sysctl.rst).
_SYSCTLS = {
    "ipv4/conf/lo/forwarding": "1",
    "ipv4/conf/lo/accept_local": "1",
    "ipv4/conf/lo/route_localnet": "1",
    "ipv4/conf/lo/rp_filter": "2",
    "ipv6/conf/lo/forwarding": "1",
}


@dataclass(frozen=True, slots=True)
class OffloadStatus:
    """The state of the offload.

    Attributes:
        interfaces: Where it is attached.
        flows: How many are known, of two directions each.
    """

    interfaces: list[str]
    flows: int


class PinnedOffload(Pinned):
    """The offload of this network namespace, as it is pinned.

    Args:
        filesystem: A BPF file system.

    Raises:
        PinError: If the program is not loaded.
    """

    def __init__(self, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        super().__init__(PROGRAM, MAPS, filesystem)

    def status(self) -> OffloadStatus:
        """Return the state."""
        count = sum(1 for _ in self.maps["flows"].items())
        return OffloadStatus(linked_interfaces(self.folder, PROGRAM), count // 2)

    def descriptors(self) -> list[int]:
        """Return the descriptors for the engine: flows, tallies and leases; they close with this object."""
        return [self.maps[name].descriptor for name in MAPS]


def may_use(tables: Sequence[int]) -> bool:
    """Return whether this process may access the tables that it was given: flows, tallies and leases.

    Before Linux 5.19 that takes a right where kernel.unprivileged_bpf_disabled is set (linux/kernel/bpf/syscall.c).
    """
    return Map(tables[-1], *MAPS["leases"]).get(bytes(4)) is not None


def ethernet_interfaces() -> list[str]:
    """Return the interfaces whose packets begin with an Ethernet header, lo among them."""
    return [name for _, name in socket.if_nameindex() if _has_ethernet(name)]


def _has_ethernet(interface: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
        except OSError:  # it went away
            return False
    return struct.unpack_from("=H", answer, 16)[0] in (_ETHERNET, _LOOPBACK)


def load(interfaces: Collection[str], flows: int, filesystem: Path = DEFAULT_FILESYSTEM, by_links: bool = True) -> None:
    """Load the program and attach it to exactly these interfaces; an attached one is replaced atomically.

    Args:
        interfaces: Where datagrams of clients and origins come in.
        flows: So many can be known; where the tables are there in another size they begin anew.
        filesystem: A BPF file system.
        by_links: By tcx links, of Linux 6.6, where the kernel has them; else by classic filters.

    Raises:
        PinError: If an interface does not exist, or the kernel cannot have it.
    """
    for name in interfaces:
        if not _has_ethernet(name):
            raise PinError(f"there is no interface {name}, or its packets have no Ethernet header")
    folder = prepare(filesystem)
    _open_loopback()
    entries = {"flows": 2 * flows, "tallies": 2 * flows}
    try:
        program = load_program(PROGRAM, folder, MAPS, entries)
    except PinError:
        if not unload(folder, PROGRAM):
            raise
        program = load_program(PROGRAM, prepare(filesystem), MAPS, entries)
    try:
        attach_to_interfaces(
            folder,
            PROGRAM,
            interfaces,
            program.program(PROGRAM),
            partial(program.attach_to_ingress, PROGRAM) if by_links else None,
            partial(program.attach_as_filter, PROGRAM),
        )
    except PinError:
        unload(folder, PROGRAM)
        raise
    finally:
        program.close()


def _open_loopback() -> None:
    for name, value in _SYSCTLS.items():
        path = Path("/proc/sys/net", name)
        try:
            if path.exists():  # a kernel without IPv6 has none of it
                path.write_text(value, encoding="ascii")
        except OSError as exc:
            raise PinError(f"{path} cannot be set to {value}: {(exc.strerror or str(exc)).lower()}") from exc


def is_loaded(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Return whether the program is attached to any interface."""
    return bool(linked_interfaces(folder_of(filesystem), PROGRAM))


def remove(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Detach the program from all interfaces, and remove all flows; return whether there was one."""
    return unload(folder_of(filesystem), PROGRAM)
