"""Bindings of prefixes and ports to services, in the kernel (sk_lookup); the program is bpf/bindings.bpf.c."""

import socket
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import (
    DEFAULT_FILESYSTEM,
    PROCESSORS,
    Network,
    PinError,
    Pinned,
    explained,
    folder_of,
    prefix_key,
    prefix_of,
    prepare,
    replaced,
)
from spectrum.kernel.pins import load as load_program

PROGRAM = "bindings"
_LINK = "bindings_link"
MAX_SERVICES = 2048
MAX_LABEL_BYTES = 62
COUNTS = ("lookups", "misses", "no_socket", "bad_socket")
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
_NAMES = {number: name for name, number in PROTOCOLS.items()}
_FIXED_BITS = 32

_KEY = struct.Struct("=IBxH16s")
_BINDING = struct.Struct("=II")
_LABEL = struct.Struct("=63sB")
_SERVICE = struct.Struct("=II")
_INDEX = struct.Struct("=I")
_SOCKET = struct.Struct("=Q")
_COUNT = struct.Struct("=Q")
_MAPS = {
    "bindings": (_KEY.size, _BINDING.size),
    "sockets": (_INDEX.size, _SOCKET.size),
    "services": (_LABEL.size, _SERVICE.size),
    "counts": (_INDEX.size, _COUNT.size * PROCESSORS),
}


class BindingError(PinError):
    """A binding or socket is refused; the message has the reason."""


@dataclass(frozen=True, slots=True, order=True)
class Binding:
    """A rule that packets to a prefix and port (0 for any) go to the socket of a service."""

    label: str
    protocol: str
    prefix: Network
    port: int

    @classmethod
    def checked(cls, label: str, protocol: str, prefix: str, port: int) -> "Binding":
        """Validate a binding from another process, and return it.

        Raises:
            ValueError: If it is invalid.
            BindingError: If its label is too long or empty.
        """
        if protocol not in PROTOCOLS or not 0 <= port <= 65535:
            raise ValueError(f"{protocol!r} port {port} is no transport and port")
        _label(label, protocol)
        return cls(label, protocol, ip_network(prefix), port)

    def __str__(self) -> str:
        return f"{self.label} {self.protocol} {self.prefix} {self.port}"

    def key(self) -> bytes:
        """Return the key in the map."""
        bits, address = prefix_key(self.prefix)
        return _KEY.pack(_FIXED_BITS + bits, PROTOCOLS[self.protocol], self.port, address)


def _of_key(key: bytes, label: str) -> Binding:
    bits, protocol, port, address = _KEY.unpack(key)
    return Binding(label, _NAMES[protocol], prefix_of(bits - _FIXED_BITS, address), port)


class Bindings(Pinned):
    """The pinned bindings of this network namespace.

    Args:
        filesystem: A BPF file system.

    Raises:
        PinError: If the program is not loaded.
    """

    def __init__(self, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        super().__init__(PROGRAM, _MAPS, filesystem)

    # --- reading --------------------------------------------------------------------------------------------------

    def all(self) -> list[Binding]:
        """Return all bindings, in order."""
        labels = {number: label for label, _, number, _ in self._services()}
        found = [
            _of_key(key, labels.get(_BINDING.unpack(value)[0], "?")) for key, value in self.maps["bindings"].items()
        ]
        return sorted(found, key=lambda b: (b.label, b.protocol, b.prefix.version, b.prefix, b.port))

    def services(self) -> dict[tuple[str, str], tuple[int, list[str]]]:
        """Return the number of bindings, and the families of the sockets, by label and protocol."""
        return {
            (label, protocol): (
                count,
                [family for place, family in enumerate(("ipv4", "ipv6")) if self._has_socket(2 * number + place)],
            )
            for label, protocol, number, count in self._services()
        }

    def _has_socket(self, index: int) -> bool:
        return self.maps["sockets"].get(_INDEX.pack(index)) is not None

    def counts(self) -> dict[str, int]:
        """Return the program's counters, summed over all CPUs."""
        found = {}
        for place, name in enumerate(COUNTS):
            value = self.maps["counts"].get(_INDEX.pack(place)) or b""
            found[name] = sum(number for (number,) in _COUNT.iter_unpack(value))
        return found

    def document(self) -> dict[str, Any]:
        """Return all bindings, the services' sockets and the counters as a JSON document."""
        return {
            "bindings": [
                {"label": one.label, "protocol": one.protocol, "prefix": str(one.prefix), "port": one.port}
                for one in self.all()
            ],
            "services": [
                {"label": label, "protocol": protocol, "bindings": count, "sockets": families}
                for (label, protocol), (count, families) in sorted(self.services().items())
            ],
            "counts": self.counts(),
        }

    def _services(self) -> Iterator[tuple[str, str, int, int]]:
        """Yield label, protocol, number and count of bindings."""
        for key, value in self.maps["services"].items():
            name, protocol = _LABEL.unpack(key)
            yield (name.rstrip(b"\0").decode(), _NAMES[protocol], *_SERVICE.unpack(value))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Return a context in which all changes are made or none. A replaced socket of a service is not restored.

        The kernel does not return sockets; the owner of the former socket has to register it again.
        """
        before = {name: dict(self.maps[name].items()) for name in ("bindings", "services")}
        try:
            yield
        except BaseException:
            for key, (number, _) in self._numbers().items():
                if key not in before["services"]:
                    for family in range(2):
                        self.maps["sockets"].delete(_INDEX.pack(2 * number + family))
            with self.locked():
                for name, former in before.items():
                    now = dict(self.maps[name].items())
                    self.set_many(name, {key: value for key, value in former.items() if now.get(key) != value})
                    for key in now.keys() - former.keys():
                        self.maps[name].delete(key)
            raise

    def _numbers(self) -> dict[bytes, tuple[int, int]]:
        return {key: _SERVICE.unpack(value) for key, value in self.maps["services"].items()}

    # --- changes --------------------------------------------------------------------------------------------------

    def bind(self, binding: Binding) -> None:
        """Bind a prefix and port.

        Raises:
            BindingError: If it is bound to another service, or there is no room.
        """
        with self.locked():
            self._bind(binding)

    def _bind(self, binding: Binding) -> None:
        key = binding.key()
        present = self.maps["bindings"].get(key)
        # The lookup may find a prefix of another length; only the same length is the same binding.
        if present is not None and _BINDING.unpack(present)[1] == _KEY.unpack(key)[0]:
            owner = next((b for b in self.all() if b.key() == key), binding)
            if owner.label != binding.label:
                raise BindingError(f"{binding.prefix} port {binding.port} is bound to {owner.label}")
            return
        number, count = self._number(binding.label, binding.protocol)
        self.set("bindings", key, _BINDING.pack(number, _KEY.unpack(key)[0]))
        self.set("services", _label(binding.label, binding.protocol), _SERVICE.pack(number, count + 1))

    def _number(self, label: str, protocol: str) -> tuple[int, int]:
        """Return the number of a service (a free one if it is new) and the count of its bindings."""
        value = self.maps["services"].get(_label(label, protocol))
        if value is not None:
            return _SERVICE.unpack(value)
        taken = {number for _, _, number, _ in self._services()}
        number = next((n for n in range(MAX_SERVICES) if n not in taken), -1)
        if number < 0:
            raise BindingError(f"there are {MAX_SERVICES} services already")
        return number, 0

    def unbind(self, binding: Binding) -> None:
        """Remove a binding; open connections continue.

        Raises:
            BindingError: If there is no such binding.
        """
        with self.locked():
            if binding not in self.all():
                raise BindingError(f"there is no binding {binding}")
            self.maps["bindings"].delete(binding.key())
            number, count = self._number(binding.label, binding.protocol)
            self._leave(binding.label, binding.protocol, number, max(count - 1, 0))

    def apply(self, wanted: Iterable[Binding], services: Collection[tuple[str, str]] | None = None) -> tuple[int, int]:
        """Replace all bindings by these; return the number of added and of removed ones.

        Bindings that stay are never removed in between; a prefix that changes its service is replaced atomically.

        Args:
            wanted: The bindings.
            services: Labels with protocols that `wanted` is complete for; bindings of others stay. None: all services.

        Raises:
            BindingError: If a prefix is bound to another service, or there is no room; then nothing has changed.
        """
        with self.locked():
            by_key = {binding.key(): binding for binding in wanted}
            if services is not None:
                self._refuse_strangers(by_key, services)
            totals = Counter((binding.label, binding.protocol) for binding in by_key.values())
            numbers = {}
            for (label, protocol), count in totals.items():
                number, _ = self._number(label, protocol)
                numbers[label, protocol] = number
                self.set("services", _label(label, protocol), _SERVICE.pack(number, count))
            # There may be a million, most of them unchanged: they are compared in the kernel's form.
            present = dict(self.maps["bindings"].items())
            values = {
                key: _BINDING.pack(numbers[binding.label, binding.protocol], _KEY.unpack(key)[0])
                for key, binding in by_key.items()
            }
            fresh = {key: value for key, value in values.items() if present.get(key) != value}
            theirs = {
                number
                for label, protocol, number, _ in self._services()
                if services is not None and (label, protocol) not in services
            }
            gone = [
                key for key, value in present.items() if key not in by_key and _BINDING.unpack(value)[0] not in theirs
            ]
            self.set_many("bindings", fresh)
            for key in gone:
                self.maps["bindings"].delete(key)
            for label, protocol, number, _ in tuple(self._services()):
                if (label, protocol) not in totals and number not in theirs:
                    self._leave(label, protocol, number, 0)
            return len(fresh), len(gone)

    def _refuse_strangers(self, by_key: Mapping[bytes, Binding], services: Collection[tuple[str, str]]) -> None:
        """Refuse bindings of prefixes that other services have."""
        owners = {number: (label, protocol) for label, protocol, number, _ in self._services()}
        for key, value in self.maps["bindings"].items():
            owner = owners.get(_BINDING.unpack(value)[0])
            if key in by_key and owner is not None and owner not in services:
                binding = by_key[key]
                raise BindingError(f"{binding.prefix} port {binding.port or 'any'} is bound to {owner[0]}")

    def _leave(self, label: str, protocol: str, number: int, count: int) -> None:
        """Record the number of bindings that a service has left; without bindings and sockets it is removed."""
        if count or self._has_socket(2 * number) or self._has_socket(2 * number + 1):
            self.set("services", _label(label, protocol), _SERVICE.pack(number, count))
        else:
            self.maps["services"].delete(_label(label, protocol))

    def register(self, label: str, sock: socket.socket) -> list[str]:
        """Register a socket for a service: a listening TCP or a bound UDP socket; return its families.

        One socket of a SO_REUSEPORT group stands for the whole group.

        Raises:
            BindingError: If it is neither.
        """
        protocol = _NAMES.get(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL), "")
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not protocol:
            raise BindingError("it is no TCP or UDP socket")
        families = [0] if sock.family == socket.AF_INET else [1]
        if sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            families = [0, 1]
        with self.locked():
            number, count = self._number(label, protocol)
            for family in families:
                self.set("sockets", _INDEX.pack(2 * number + family), _SOCKET.pack(sock.fileno()))
            self.set("services", _label(label, protocol), _SERVICE.pack(number, count))
        return ["ipv4" if family == 0 else "ipv6" for family in families]


def _label(label: str, protocol: str) -> bytes:
    name = label.encode()
    if not 0 < len(name) <= MAX_LABEL_BYTES:
        raise BindingError(f"a label is 1 to {MAX_LABEL_BYTES} bytes: {label!r}")
    return _LABEL.pack(name, PROTOCOLS[protocol])


def load(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Load the program and attach it to this network namespace; return whether it replaced another one.

    Pinned bindings and sockets stay: a program that is already attached is replaced atomically.

    Raises:
        PinError: If the program cannot be loaded or attached.
    """
    folder = prepare(filesystem)
    program = load_program(PROGRAM, folder, _MAPS)
    try:
        link = folder / _LINK
        if replaced(link, program.program("steer")):
            return True
        with open("/proc/self/ns/net", "rb") as namespace:
            program.attach_to_network("steer", namespace.fileno(), link)
        return False
    except BpfError as exc:
        raise PinError(explained(exc)) from exc
    finally:
        program.close()


def empty_document() -> dict[str, Any]:
    """Return the document of `Bindings.document` without bindings, or without the program."""
    return {"bindings": [], "services": [], "counts": dict.fromkeys(COUNTS, 0)}


def is_loaded(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Return whether the program is attached to this network namespace."""
    return (folder_of(filesystem) / _LINK).exists()
