"""UDP flows forwarded by the kernel at ingress (tc); the program is bpf/offload.bpf.c.

This module loads and attaches it; the engine of each worker fills its tables (engine/offload.pyx).
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
# The kernel routes rewritten packets for a program like packets of this machine only if lo forwards; packets for this
# machine enter by lo, with local addresses at both ends. The settings affect packets from lo only
# (Documentation/networking/ip-sysctl.rst).
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
        interfaces: The interfaces that it is attached to.
        flows: The number of known flows, of two directions each.
    """

    interfaces: list[str]
    flows: int


class PinnedOffload(Pinned):
    """The pinned offload of this network namespace.

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
    """Return whether this process may access the tables flows, tallies and leases by their descriptors.

    Before Linux 5.19 that needs a privilege if kernel.unprivileged_bpf_disabled is set (linux/kernel/bpf/syscall.c).
    """
    return Map(tables[-1], *MAPS["leases"]).get(bytes(4)) is not None


def ethernet_interfaces() -> list[str]:
    """Return the interfaces with Ethernet headers, lo among them."""
    return [name for _, name in socket.if_nameindex() if _has_ethernet(name)]


def _has_ethernet(interface: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), _SIOCGIFHWADDR, struct.pack("16s24x", interface.encode()))
        except OSError:  # the interface was removed
            return False
    return struct.unpack_from("=H", answer, 16)[0] in (_ETHERNET, _LOOPBACK)


def load(interfaces: Collection[str], flows: int, filesystem: Path = DEFAULT_FILESYSTEM, by_links: bool = True) -> None:
    """Load the program and attach it to exactly these interfaces; an attached one is replaced atomically.

    Args:
        interfaces: The interfaces of clients' and origins' datagrams.
        flows: The size of the tables; existing ones of another size are recreated empty.
        filesystem: A BPF file system.
        by_links: Use tcx links (Linux 6.6), if the kernel has them; otherwise classic filters.

    Raises:
        PinError: If an interface does not exist, or the kernel refuses it.
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
            if path.exists():  # missing in a kernel without IPv6
                path.write_text(value, encoding="ascii")
        except OSError as exc:
            raise PinError(f"{path} cannot be set to {value}: {(exc.strerror or str(exc)).lower()}") from exc


def is_loaded(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Return whether the program is attached to any interface."""
    return bool(linked_interfaces(folder_of(filesystem), PROGRAM))


def remove(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Detach the program from all interfaces, and remove all flows; return whether it was attached."""
    return unload(folder_of(filesystem), PROGRAM)
