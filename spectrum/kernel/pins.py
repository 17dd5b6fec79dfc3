"""Maps and links that stay in the kernel without a process, pinned in a BPF file system.

There is a folder per network namespace, as programs are attached to one, and per version of the layout. Changes are
made under a lock. Pins outlive their namespace, whose inode number a later one gets: a folder in the folder has the
namespace's cookie, which is never used again.
"""

import ctypes
import errno
import fcntl
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Self

from spectrum.kernel.folders import FolderError, check_folder
from spectrum.kernel.libbpf import BpfError, Map, Object, detach, detach_filter, replace_program

log = logging.getLogger(__name__)

Network = IPv4Network | IPv6Network

DEFAULT_FILESYSTEM = Path("/sys/fs/bpf")
# linux/magic.h
_BPF_MAGIC = 0xCAFE4A11
# The version of the structs in bpf/*.bpf.c: other layouts have other folders. Names there have no dot, which the kernel
# reserves (kernel/bpf/inode.c).
LAYOUT = "v2"
# Before the cookie, in the name of the folder with it. Programs have other names.
_COOKIE = "namespace_"
# asm-generic/socket.h, since Linux 5.14
_SO_NETNS_COOKIE = 71
# Timeout of the lock. Changes hold it for milliseconds, with a million prefixes for some seconds.
LOCK_TIMEOUT_S = 10.0
LOCK_STEP_S = 0.05


def possible_processors(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """Return the number of values per entry of a per-CPU map: one for each possible CPU.

    C libraries differ in their number of configured CPUs. Without the file (no /sys), their number is used.
    """
    try:
        ranges = [part.split("-") for part in path.read_text(encoding="ascii").strip().split(",")]
    except OSError:
        return os.sysconf("SC_NPROCESSORS_CONF") or 1
    return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges)


PROCESSORS = possible_processors()
_MAPPED = bytes(10) + b"\xff\xff"


class PinError(Exception):
    """The kernel refused an operation; the message has the reason."""


def mount(filesystem: Path) -> None:
    """Mount a BPF file system if there is none.

    Raises:
        PinError: If it cannot be mounted.
    """
    if is_bpf(filesystem):
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"bpf", bytes(filesystem), b"bpf", 0, None) < 0:
        why = os.strerror(ctypes.get_errno()).lower()
        raise PinError(f"no BPF file system can be mounted on {filesystem}: {why}")


def is_bpf(path: Path) -> bool:
    """Return whether a path is on a BPF file system."""
    library = ctypes.CDLL(None, use_errno=True)
    answer = ctypes.create_string_buffer(256)
    return bool(library.statfs(bytes(path), answer) == 0 and struct.unpack_from("=q", answer)[0] == _BPF_MAGIC)


def folder_of(filesystem: Path) -> Path:
    """Return the folder for the pins of this network namespace."""
    return filesystem / f"spectrum-{os.stat('/proc/self/ns/net').st_ino}-{LAYOUT}"


def prepare(filesystem: Path) -> Path:
    """Return the folder for this network namespace; create it if it is missing.

    Pins of a namespace that is gone are removed: with them, its flows and rules would count here.

    Raises:
        PinError: If it cannot be created, or is not trusted.
    """
    mount(filesystem)
    folder = folder_of(filesystem)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        check_folder(folder)
        _take(folder, namespace_cookie())
    except OSError as exc:
        raise PinError(f"{folder}: {(exc.strerror or str(exc)).lower()}") from exc
    except FolderError as exc:  # the kernel mounts it with mode 1777 (linux/kernel/bpf/inode.c)
        raise PinError(str(exc)) from exc
    return folder


def namespace_cookie() -> int:
    """Return the number of this network namespace, unique until the machine starts again; 0 before Linux 5.14."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
        except OSError:
            return 0


def _take(folder: Path, cookie: int) -> None:
    """Mark a folder as this namespace's. One without a mark is of a version that made none."""
    mark = folder / f"{_COOKIE}{cookie}"
    if not cookie or mark.exists():
        return
    former = list(folder.glob(f"{_COOKIE}*"))
    if former:
        # Its interfaces are gone, and what was attached to them: to detach by name would mean interfaces of this one.
        pins = [path for path in folder.iterdir() if path not in former]
        log.warning("%s: %d pins of a network namespace that is gone are removed", folder, len(pins))
        for path in pins:
            path.unlink(missing_ok=True)
        for path in former:
            path.rmdir()
    mark.mkdir(mode=0o700, exist_ok=True)


def probe(program: str) -> Object:
    """Load a program with unpinned maps; the caller closes it.

    Raises:
        PinError: If the kernel refuses it.
    """
    return load(program, Path(), {})


def load(
    program: str,
    folder: Path,
    maps: Mapping[str, tuple[int, int]],
    entries: Mapping[str, int] | None = None,
    constants: bytes = b"",
) -> Object:
    """Load a program with the pinned maps; the caller closes it.

    Args:
        program: Its name.
        folder: The folder of pinned maps.
        maps: Their names.
        entries: The number of entries of maps by name, where the object has none.
        constants: Values that replace its constants; empty for the object's.

    Raises:
        PinError: If the kernel refuses it.
    """
    try:
        pins = {name: folder / f"{program}_{name}" for name in maps}
        return Object(program_code(program), pins, entries or {}, constants)
    except BpfError as exc:
        raise PinError(explained(exc)) from exc


@lru_cache(maxsize=8)
def program_code(program: str) -> bytes:
    """Return a program's object file as this process first read it, so that it matches the code of this process."""
    return Path(__file__).with_name("bpf").joinpath(f"{program}.bpf.o").read_bytes()


# Kinds of attachments, in the names of their pins: by link, or by classic filter at tc, at ingress or egress.
_LINK, _FILTER, _EGRESS_FILTER = "link", "tc", "tcout"
_KINDS = _LINK, _FILTER, _EGRESS_FILTER


def _pin_of(folder: Path, program: str, kind: str, interface: str) -> Path:
    # eth0.10 is a VLAN; names of interfaces contain no colon.
    return folder / f"{program}_{kind}_{interface.replace('.', ':')}"


def _kind_and_interface(pin: Path) -> tuple[str, str]:
    """Return the kind and the interface of an attachment's pin; nothing for other pins."""
    _, kind, *interface = pin.name.split("_", 2)
    return (kind, "".join(interface).replace(":", ".")) if kind in _KINDS else ("", "")


def linked_interfaces(folder: Path, program: str) -> list[str]:
    """Return the interfaces that a program is attached to."""
    pins = map(_kind_and_interface, folder.glob(f"{program}_*"))
    return sorted({interface for _, interface in pins if interface})


def attach_to_interfaces(
    folder: Path,
    program: str,
    interfaces: Collection[str],
    descriptor: int,
    attach: Callable[[int, Path], None] | None,
    attach_filter: Callable[[int, Path], None] | None = None,
    at_egress: bool = False,
) -> None:
    """Attach a program to exactly these interfaces; an attached one is replaced atomically.

    Args:
        folder: The folder of its pins.
        program: Its name.
        interfaces: Their names.
        descriptor: The program's.
        attach: Attaches it to the interface with an index, by a link pinned at a path; None for no links.
        attach_filter: The same by a classic filter, for kernels without such links.
        at_egress: Whether the program sees outgoing packets.

    Raises:
        PinError: If an interface does not exist, or does not support the program.
    """
    indices = {}
    for name in interfaces:
        try:
            indices[name] = socket.if_nametoindex(name)
        except OSError as exc:
            raise PinError(f"there is no interface {name}") from exc
    for name, index in indices.items():
        link = _pin_of(folder, program, _LINK, name)
        classic = _pin_of(folder, program, _EGRESS_FILTER if at_egress else _FILTER, name)
        try:
            if not replaced(link, descriptor):
                _attach(index, link, classic, attach, attach_filter)
        except BpfError as exc:
            raise PinError(f"{name}: {explained(exc)}") from exc
    for pin in folder.glob(f"{program}_*"):
        interface = _kind_and_interface(pin)[1]
        if interface and interface not in indices:
            _detach(pin)


def _attach(
    index: int,
    link: Path,
    classic: Path,
    attach: Callable[[int, Path], None] | None,
    attach_filter: Callable[[int, Path], None] | None,
) -> None:
    if attach is not None:
        try:
            attach(index, link)
            return
        except BpfError as exc:
            if attach_filter is None or exc.number != errno.EINVAL:
                raise
    if attach_filter is not None:
        attach_filter(index, classic)


def _detach(pin: Path) -> None:
    kind, interface = _kind_and_interface(pin)
    if kind == _LINK:
        detach(pin)
        return
    try:
        index = socket.if_nametoindex(interface)
    except OSError:  # the interface was removed, and the filter with it
        pin.unlink()
    else:
        detach_filter(index, pin, kind == _EGRESS_FILTER)


def replaced(link: Path, descriptor: int) -> bool:
    """Replace the program of a pinned link; return False if there is none, or what it was attached to is gone.

    Raises:
        BpfError: If the kernel refuses it.
    """
    if not link.exists():
        return False
    try:
        replace_program(link, descriptor)
    except BpfError as exc:
        if exc.number != errno.ENOLINK:
            raise
        link.unlink()
        return False
    return True


def unload(folder: Path, program: str = "") -> bool:
    """Detach a program with pins in a folder, or all, and remove its maps; return whether there was one."""
    try:
        if not folder.is_dir():
            return False
    except PermissionError:  # it belongs to root
        return False
    # Attachments first, so that no program runs without some of its maps.
    pins = [path for path in folder.iterdir() if not path.name.startswith(_COOKIE)]
    found = [path for path in pins if path.name.startswith(f"{program}_" if program else "")]
    for path in sorted(found, key=lambda path: not _kind_and_interface(path)[0]):
        if _kind_and_interface(path)[0]:
            _detach(path)
        else:
            path.unlink()
    if len(found) < len(pins):
        return bool(found)
    for mark in folder.iterdir():
        mark.rmdir()
    folder.rmdir()
    return True


def explained(exc: BpfError) -> str:
    """Return an explanation of a kernel error."""
    if exc.number in (1, 13):
        return f"{exc}; it needs root, or CAP_BPF and CAP_NET_ADMIN"
    if exc.number == 22:
        return f"{exc}; it needs Linux 5.10"
    return str(exc)


def prefix_key(prefix: Network) -> tuple[int, bytes]:
    """Return a prefix in the form of map keys: its length (IPv4 mapped) and 16 bytes."""
    if prefix.version == 4:
        return prefix.prefixlen + 96, _MAPPED + prefix.network_address.packed
    return prefix.prefixlen, prefix.network_address.packed


def prefix_of(bits: int, address: bytes) -> Network:
    """Return the prefix of a map key."""
    if bits >= 96 and address.startswith(_MAPPED):
        return IPv4Network((IPv4Address(address[12:]), bits - 96))
    return IPv6Network((IPv6Address(address), bits))


def _lock(descriptor: int, folder: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as exc:
            if time.monotonic() >= deadline:
                raise PinError(
                    f"another process has held the lock of {folder} for {LOCK_TIMEOUT_S:g} s; "
                    "`lslocks`, or `fuser` of the folder, shows which"
                ) from exc
            time.sleep(LOCK_STEP_S)


class Pinned:
    """The pinned maps of a program of this network namespace.

    Args:
        program: Its name.
        maps: The lengths of a key and a value of each map.
        filesystem: A BPF file system.

    Raises:
        PinError: If the program is not loaded, or another version of it is.
    """

    def __init__(self, program: str, maps: Mapping[str, tuple[int, int]], filesystem: Path) -> None:
        self.folder = folder_of(filesystem)
        self.maps: dict[str, Map] = {}
        try:
            for name, sizes in maps.items():
                one = self.maps[name] = Map.pinned(self.folder / f"{program}_{name}", *sizes)
                shape = one.shape()
                value_bytes = sizes[1] // PROCESSORS if shape.is_per_cpu else sizes[1]
                if (shape.key_bytes, shape.value_bytes) != (sizes[0], value_bytes):
                    raise BpfError(f"{name} is of another version of Spectrum")
        except BpfError as exc:
            self.close()
            if exc.number == 2:
                raise PinError("the program is not loaded") from exc
            raise PinError(str(exc)) from exc

    def close(self) -> None:
        """Close the descriptors; the programs stay in the kernel."""
        for one in self.maps.values():
            one.close()
        self.maps.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Return a context in which no other process changes the maps.

        Raises:
            PinError: If another process holds the lock for too long; it may hang.
        """
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lock(descriptor, self.folder)
            yield
        finally:
            os.close(descriptor)

    def set(self, name: str, key: bytes, value: bytes) -> None:
        """Add or replace a value of a map.

        Raises:
            PinError: If the kernel refuses it.
        """
        try:
            self.maps[name].set(key, value)
        except BpfError as exc:
            raise PinError(str(exc)) from exc

    def set_many(self, name: str, values: Mapping[bytes, bytes]) -> None:
        """Add or replace many values; like `set`."""
        try:
            self.maps[name].set_many(list(values), list(values.values()))
        except BpfError as exc:
            raise PinError(str(exc)) from exc
