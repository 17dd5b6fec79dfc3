"""What is dropped before the network stack sees it (XDP); the program is bpf/filter.bpf.c."""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spectrum.kernel.pins import (
    DEFAULT_FILESYSTEM,
    PROCESSORS,
    Network,
    PinError,
    Pinned,
    attach_to_interfaces,
    folder_of,
    linked_interfaces,
    prefix_key,
    prefix_of,
    prepare,
    unload,
)
from spectrum.kernel.pins import load as load_program

PROGRAM = "filter"
MAX_LISTS = 1024
MAX_NAME_BYTES = 63
# What becomes of packets that are on no list, in the order in which the program counts behind those of lists.
OTHERS = ("passed", "guarded", "malformed", "too_many")

_PREFIX = struct.Struct("=I16s")
_NUMBER = struct.Struct("=I")
_LIST = struct.Struct("=64s")
_SETTINGS = struct.Struct("=QQII")
_COUNT = struct.Struct("=QQ")
_MAPS = {
    "blocked": (_PREFIX.size, _NUMBER.size),
    "lists": (_LIST.size, _NUMBER.size),
    "guarded": (_PREFIX.size, _NUMBER.size),
    "sources": (8, 8),
    "counts": (_NUMBER.size, _COUNT.size * PROCESSORS),
    "settings": (_NUMBER.size, _SETTINGS.size),
}
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """What the program goes by, besides lists.

    Attributes:
        packets_per_second: Of one source, an IPv4 address or an IPv6 /64; 0 for any number.
        burst: So many packets may come at once.
        dry_run: Nothing is dropped, everything is counted.
    """

    packets_per_second: int = 0
    burst: int = 0
    dry_run: bool = False


class Filter(Pinned):
    """The filter of this network namespace, as it is pinned.

    Args:
        filesystem: A BPF file system.

    Raises:
        PinError: If the program is not loaded.
    """

    def __init__(self, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        super().__init__(PROGRAM, _MAPS, filesystem)

    def interfaces(self) -> list[str]:
        """Return the interfaces that it is attached to."""
        return linked_interfaces(self.folder, PROGRAM)

    def settings(self) -> FilterSettings:
        """Return what it goes by."""
        packet_ns, burst_ns, dry_run, _ = _SETTINGS.unpack(self.maps["settings"].get(_NUMBER.pack(0)) or bytes(24))
        if not packet_ns:
            return FilterSettings(dry_run=bool(dry_run))
        return FilterSettings(round(_NS_PER_S / packet_ns), round(burst_ns / packet_ns), bool(dry_run))

    def configure(self, settings: FilterSettings) -> None:
        """Go by other settings.

        Raises:
            PinError: If the kernel does not take them.
        """
        packet_ns = _NS_PER_S // settings.packets_per_second if settings.packets_per_second else 0
        self.set(
            "settings", _NUMBER.pack(0), _SETTINGS.pack(packet_ns, packet_ns * settings.burst, settings.dry_run, 0)
        )

    def guard(self, prefixes: Collection[Network]) -> None:
        """Let exactly these prefixes be guarded; new ones are before old ones go.

        Raises:
            PinError: If there is no room.
        """
        with self.locked():
            self._replace("guarded", {_key(prefix): _NUMBER.pack(0) for prefix in prefixes})

    def block(self, lists: Mapping[str, Collection[Network]]) -> tuple[int, int]:
        """Let exactly these lists be blocked; return how many prefixes came and went.

        A prefix that stands on two lists is the first one's.

        Raises:
            PinError: If there are too many lists, or prefixes.
        """
        with self.locked():
            numbers = self._numbers(lists)
            wanted: dict[bytes, bytes] = {}
            for name, prefixes in lists.items():
                number = _NUMBER.pack(numbers[name])
                for prefix in prefixes:
                    wanted.setdefault(_key(prefix), number)
            changed = self._replace("blocked", wanted)
            for name in self._lists():
                if name not in lists:
                    self.maps["lists"].delete(_name(name))
            return changed

    def _replace(self, name: str, wanted: Mapping[bytes, bytes]) -> tuple[int, int]:
        present = dict(self.maps[name].items())
        fresh = {key: value for key, value in wanted.items() if present.get(key) != value}
        gone = [key for key in present if key not in wanted]
        self.set_many(name, fresh)
        for key in gone:
            self.maps[name].delete(key)
        return len(fresh), len(gone)

    def _lists(self) -> dict[str, int]:
        return {key.rstrip(b"\0").decode(): _NUMBER.unpack(value)[0] for key, value in self.maps["lists"].items()}

    def _numbers(self, lists: Collection[str]) -> dict[str, int]:
        """Return the number of each list; a new one gets a free one, and counts from nothing."""
        known = self._lists()
        free = (n for n in range(MAX_LISTS) if n not in known.values())
        for name in lists:
            if name in known:
                continue
            number = next(free, -1)
            if number < 0:
                raise PinError(f"there are {MAX_LISTS} lists already")
            known[name] = number
            self.set("counts", _NUMBER.pack(number), bytes(_MAPS["counts"][1]))
            self.set("lists", _name(name), _NUMBER.pack(number))
        return known

    def blocked(self) -> dict[str, list[Network]]:
        """Return the lists with their prefixes."""
        names = {number: name for name, number in self._lists().items()}
        found: dict[str, list[Network]] = {name: [] for name in names.values()}
        for key, value in self.maps["blocked"].items():
            found.setdefault(names.get(_NUMBER.unpack(value)[0], "?"), []).append(prefix_of(*_PREFIX.unpack(key)))
        return found

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return packets and bytes by list, and of what is on none."""
        places = {f"list {name}": number for name, number in sorted(self._lists().items())}
        places |= {name: MAX_LISTS + place for place, name in enumerate(OTHERS)}
        return {name: self._count(place) for name, place in places.items()}

    def _count(self, place: int) -> tuple[int, int]:
        parts = list(_COUNT.iter_unpack(self.maps["counts"].get(_NUMBER.pack(place)) or b""))
        return sum(packets for packets, _ in parts), sum(size for _, size in parts)


def _key(prefix: Network) -> bytes:
    return _PREFIX.pack(*prefix_key(prefix))


def _name(name: str) -> bytes:
    encoded = name.encode()
    if not 0 < len(encoded) <= MAX_NAME_BYTES:
        raise PinError(f"the name of a list is 1 to {MAX_NAME_BYTES} bytes: {name!r}")
    return _LIST.pack(encoded)


def load(interfaces: Collection[str], filesystem: Path = DEFAULT_FILESYSTEM) -> None:
    """Load the program and let exactly these interfaces have it; where one has it, it is replaced in one step.

    Lists and settings that are pinned stay; at first there are none, and everything passes.

    Raises:
        PinError: If an interface does not exist, or can not have it.
    """
    folder = prepare(filesystem)
    program = load_program(PROGRAM, folder, _MAPS)
    try:
        attach_to_interfaces(
            folder, PROGRAM, interfaces, program.program("filter"), partial(program.attach_to_interface, "filter")
        )
    finally:
        program.close()


def remove(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Take the program off all interfaces, and forget its lists; return whether there was one."""
    return unload(folder_of(filesystem), PROGRAM)
