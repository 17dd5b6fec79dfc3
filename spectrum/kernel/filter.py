"""The packet filter before the network stack (XDP); the program is bpf/filter.bpf.c."""

import os
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Network
from pathlib import Path

import msgspec

from spectrum.core.packets import MAX_RULES
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
# Owners of lists and rules. A change of one owner leaves those of others alone. A prefix on lists of two owners is
# counted for the first of these. Names of lists and rules begin with their owner, except the file's: "ddos/NAME".
OWNERS = ("file", "api", "ddos")
# Other results, in the order of their counters, which follow those of lists; the counters of rules follow these.
# See PASSED and those after it in bpf/counts.h.
OTHERS = ("passed", "guarded", "malformed", "too_many", "too_many_syns", "syn_cookies", "samples_lost")
_FIRST_RULE = MAX_LISTS + len(OTHERS)

_PREFIX = struct.Struct("=I16s")
_NUMBER = struct.Struct("=I")
_LIST = struct.Struct("=64s")
_SETTINGS = struct.Struct("=QQQQIIIII4x")
# struct rule: addresses with masks; ranges of ports, lengths, protocols and lifetimes; TCP flags, fragments, ports or
# flags asked for; the number of the rule, and the interval of packets that pass.
_RULE = struct.Struct("=16s16s16s16s10HBBBBBBBxIQ")
_RULE_NUMBER = _RULE.size - struct.calcsize("=IQ")
_COUNT = struct.Struct("=QQ")
_MAPS = {
    "blocked": (_PREFIX.size, _NUMBER.size),
    "lists": (_LIST.size, _NUMBER.size),
    "guarded": (_PREFIX.size, _NUMBER.size),
    "sources": (8, 8),
    "destinations": (20, 8),
    "rules": (_NUMBER.size, _RULE.size),
    "paid": (_NUMBER.size, 8),
    "rule_names": (_LIST.size, _NUMBER.size),
    "samples": (0, 0),
    "counts": (_NUMBER.size, _COUNT.size * PROCESSORS),
    "settings": (_NUMBER.size, _SETTINGS.size),
}
_NS_PER_S = 1_000_000_000
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """The program's settings, besides lists and rules.

    Attributes:
        packets_per_second: Of one source, an IPv4 address or an IPv6 /64; 0 for any number.
        burst: So many packets may come at once.
        syns_per_second: Of TCP, for one address and port; 0 for any number.
        syn_burst: So many of them may come at once.
        syn_cookies: SYNs beyond that are answered with a cookie where a socket listens, not dropped.
        sample_one_in: One packet of so many is shown; 0 for none.
        dry_run: Nothing is dropped, everything is counted.
    """

    packets_per_second: int = 0
    burst: int = 0
    syns_per_second: int = 0
    syn_burst: int = 0
    syn_cookies: bool = False
    sample_one_in: int = 0
    dry_run: bool = False


Range = tuple[int, int]
# Changes of maps in their order: the name of the map, former values by key, and keys that were not there.
Journal = list[tuple[str, dict[bytes, bytes], list[bytes]]]


@dataclass(frozen=True, slots=True)
class FilterRule:
    """Packets to drop, all or those beyond a rate. Ranges are inclusive.

    Attributes:
        source: Where they come from; None for anywhere.
        destination: Where they go, likewise.
        protocol: IP protocol numbers.
        source_port: Of TCP and UDP; None for packets without ports, too. Those of fragments are not seen.
        destination_port: Likewise.
        length: Of the IP packet, in bytes.
        ttl: Time to live, or hop limit.
        tcp_flags: (those that are looked at, those of them that are set), as in the byte of the TCP header.
        fragment: Only fragments, or only packets that are none; None for both.
        packets_per_second: So many pass, of all together; 0 for none.
    """

    source: Network | None = None
    destination: Network | None = None
    protocol: Range = (0, 255)
    source_port: Range | None = None
    destination_port: Range | None = None
    length: Range = (0, 65535)
    ttl: Range = (0, 255)
    tcp_flags: tuple[int, int] | None = None
    fragment: bool | None = None
    packets_per_second: int = 0


# Prefixes, or their keys in the maps, concatenated.
Prefixes = Collection[Network] | bytes


class Drops(msgspec.Struct, array_like=True, frozen=True):
    """The drops of one owner, in the form of the maps.

    Attributes:
        guard: Prefixes whose packets always pass, by `pack_prefixes`.
        lists: Prefixes by the name of their list, likewise.
        rules: By their names, in order, by `pack_rule`.
    """

    guard: bytes = b""
    lists: dict[str, bytes] = {}
    rules: dict[str, bytes] = {}

    def check(self, owner: str) -> None:
        """Validate drops that another process sent.

        Raises:
            PinError: If the kernel could not take it, or a name is another owner's.
        """
        for name in (*self.lists, *self.rules):
            _name(_full_name(owner, name))
            if _owned(name) != (OWNERS[0], name):
                raise PinError(f"{name!r}: names that begin so are those of another owner")
        if len(self.rules) > MAX_RULES or any(len(rule) != _RULE.size for rule in self.rules.values()):
            raise PinError(f"there are {MAX_RULES} rules at most, of {_RULE.size} bytes each")
        for packed in (self.guard, *self.lists.values()):
            _check_prefixes(packed)


def pack_prefixes(prefixes: Iterable[Network]) -> bytes:
    """Return prefixes in the form of keys of the maps."""
    return b"".join(key for prefix in prefixes for key in _keys(prefix))


def _check_prefixes(packed: bytes) -> None:
    if len(packed) % _PREFIX.size:
        raise PinError("prefixes of a length that they do not have")
    for bits, address in _PREFIX.iter_unpack(packed):
        if bits > 128 or int.from_bytes(address, "big") & ((1 << 128 - bits) - 1):
            raise PinError(f"{address.hex()}/{bits} is no prefix")


def _keys_of(prefixes: Prefixes) -> list[bytes]:
    packed = prefixes if isinstance(prefixes, bytes) else pack_prefixes(prefixes)
    return [packed[start : start + _PREFIX.size] for start in range(0, len(packed), _PREFIX.size)]


def _full_name(owner: str, name: str) -> str:
    return name if owner == OWNERS[0] else f"{owner}/{name}"


def _owned(name: str) -> tuple[str, str]:
    """Return the owner of a list or rule, and its name without the owner."""
    owner, slash, own = name.partition("/")
    return (owner, own) if slash and owner in OWNERS[1:] else (OWNERS[0], name)


class PinnedFilter(Pinned):
    """The filter of this network namespace, as it is pinned.

    Args:
        filesystem: A BPF file system.

    Attributes:
        journal: What `put_back` needs to undo all that this object has changed.

    Raises:
        PinError: If the program is not loaded.
    """

    def __init__(self, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        super().__init__(PROGRAM, _MAPS, filesystem)
        self.journal: Journal = []

    def put_back(self, journal: Journal) -> None:
        """Undo the changes of a journal.

        Raises:
            PinError: If the kernel does not take it.
        """
        with self.locked():
            for name, former, added in reversed(journal):
                self.set_many(name, former)
                for key in added:
                    self.maps[name].delete(key)

    def _note(self, name: str, present: Mapping[bytes, bytes], fresh: Iterable[bytes], gone: Iterable[bytes]) -> None:
        """Note in the journal the values of a map that are about to change."""
        fresh = list(fresh)
        former = {key: present[key] for key in (*fresh, *gone) if key in present}
        self.journal.append((name, former, [key for key in fresh if key not in present]))

    def _note_settings(self) -> None:
        key = _NUMBER.pack(0)
        self.journal.append(("settings", {key: self.maps["settings"].get(key) or bytes(_SETTINGS.size)}, []))

    def interfaces(self) -> list[str]:
        """Return the interfaces that it is attached to."""
        return linked_interfaces(self.folder, PROGRAM)

    def samples(self) -> int:
        """Return a descriptor of the ring buffer of samples, which the caller owns."""
        return os.dup(self.maps["samples"].descriptor)

    def settings(self) -> FilterSettings:
        """Return the settings."""
        packet_ns, burst_ns, syn_ns, syn_burst_ns, dry_run, cookies, one_in, _, _ = self._settings()
        rates = *_rate(packet_ns, burst_ns), *_rate(syn_ns, syn_burst_ns)
        return FilterSettings(*rates, bool(cookies), one_in, bool(dry_run))

    def _settings(self) -> tuple[int, ...]:
        return _SETTINGS.unpack(self.maps["settings"].get(_NUMBER.pack(0)) or bytes(_SETTINGS.size))

    def configure(self, settings: FilterSettings) -> None:
        """Change the settings.

        Raises:
            PinError: If the kernel does not take them.
        """
        self._note_settings()
        packet_ns, syn_ns = _gap_ns(settings.packets_per_second), _gap_ns(settings.syns_per_second)
        self.set(
            "settings",
            _NUMBER.pack(0),
            _SETTINGS.pack(
                packet_ns,
                packet_ns * settings.burst,
                syn_ns,
                syn_ns * settings.syn_burst,
                settings.dry_run,
                settings.syn_cookies,
                settings.sample_one_in,
                *self._settings()[-2:],
            ),
        )

    def hold(self, drops: Mapping[str, Drops]) -> None:
        """Replace the lists and rules of all owners; call `configure` after `guard` and before this.

        Raises:
            PinError: If there is too much of it.
        """
        owners = [(owner, drops[owner]) for owner in OWNERS if owner in drops]
        self.rule({_full_name(owner, name): rule for owner, own in owners for name, rule in own.rules.items()})
        self.block({_full_name(owner, name): packed for owner, own in owners for name, packed in own.lists.items()})

    def held(self) -> dict[str, Drops]:
        """Return the drops by owner. A prefix that several owners have listed is known for the first one only."""
        guard: dict[str, list[bytes]] = {}
        lists: dict[tuple[str, str], list[bytes]] = {}
        rules: dict[str, dict[str, bytes]] = {}
        for key, value in self.maps["guarded"].items():
            guard.setdefault(OWNERS[_NUMBER.unpack(value)[0]], []).append(key)
        names = {number: _owned(name) for name, number in self._names("lists").items()}
        for one in names.values():
            lists[one] = []
        for key, value in self.maps["blocked"].items():
            if (number := _NUMBER.unpack(value)[0]) in names:
                lists[names[number]].append(key)
        names = {number: _owned(name) for name, number in self._names("rule_names").items()}
        *_, first, count = self._settings()
        for place in range(first, first + count):
            rule = self.maps["rules"].get(_NUMBER.pack(place)) or bytes(_RULE.size)
            owner, name = names[_rule_number(rule)]
            rules.setdefault(owner, {})[name] = rule
        return {
            owner: Drops(
                b"".join(guard.get(owner, ())),
                {name: b"".join(keys) for (of, name), keys in lists.items() if of == owner},
                rules.get(owner, {}),
            )
            for owner in OWNERS
            if owner in guard or owner in rules or any(of == owner for of, _ in lists)
        }

    def rule(self, rules: Mapping[str, "FilterRule | bytes"]) -> None:
        """Replace the rules; the first one that drops a packet counts it.

        They are written beside those that hold, and take over from one packet to the next.

        Raises:
            PinError: If there are too many.
        """
        with self.locked():
            self._note_settings()
            self._forget("rule_names", rules)
            numbers = self._named("rule_names", rules, MAX_RULES, _FIRST_RULE)
            before = self._settings()
            first = MAX_RULES - before[-2]
            for place, (name, rule) in enumerate(rules.items()):
                packed = rule if isinstance(rule, bytes) else pack_rule(rule)
                self.set("rules", _NUMBER.pack(first + place), _numbered(packed, numbers[name]))
            self.set("settings", _NUMBER.pack(0), _SETTINGS.pack(*before[:-2], first, len(rules)))

    def guard(self, prefixes: Mapping[str, Prefixes] | Prefixes) -> None:
        """Replace the guarded prefixes of all owners; new ones are added before old ones are removed.

        Raises:
            PinError: If there is no room.
        """
        by_owner = prefixes if isinstance(prefixes, Mapping) else {OWNERS[0]: prefixes}
        wanted: dict[bytes, bytes] = {}
        for rank, owner in enumerate(OWNERS):
            for key in _keys_of(by_owner.get(owner, b"")):
                wanted.setdefault(key, _NUMBER.pack(rank))
        with self.locked():
            self._replace("guarded", wanted)

    def block(self, lists: Mapping[str, Prefixes]) -> tuple[int, int]:
        """Replace the lists; return how many prefixes were added and removed.

        A prefix that stands on two lists is the first one's.

        Raises:
            PinError: If there are too many lists, or prefixes.
        """
        with self.locked():
            self._forget("lists", lists)
            numbers = self._named("lists", lists, MAX_LISTS, 0)
            wanted: dict[bytes, bytes] = {}
            for name, prefixes in lists.items():
                number = _NUMBER.pack(numbers[name])
                for key in _keys_of(prefixes):
                    wanted.setdefault(key, number)
            return self._replace("blocked", wanted)

    def _replace(self, name: str, wanted: Mapping[bytes, bytes]) -> tuple[int, int]:
        present = dict(self.maps[name].items())
        fresh = {key: value for key, value in wanted.items() if present.get(key) != value}
        gone = [key for key in present if key not in wanted]
        self._note(name, present, fresh, gone)
        self.set_many(name, fresh)
        for key in gone:
            self.maps[name].delete(key)
        return len(fresh), len(gone)

    def _names(self, kind: str) -> dict[str, int]:
        return {key.rstrip(b"\0").decode(): _NUMBER.unpack(value)[0] for key, value in self.maps[kind].items()}

    def _named(self, kind: str, names: Collection[str], room: int, first_count: int) -> dict[str, int]:
        """Return the number of each list or rule; a new one gets a free number, with its counters at zero."""
        known = self._names(kind)
        free = (n for n in range(room) if n not in known.values())
        for name in names:
            if name in known:
                continue
            number = next(free, -1)
            if number < 0:
                raise PinError(f"there are {room} {kind.removesuffix('_names').removesuffix('s')}s already")
            known[name] = number
            self._note(kind, {}, [_name(name)], [])
            self.set("counts", _NUMBER.pack(first_count + number), bytes(_MAPS["counts"][1]))
            self.set(kind, _name(name), _NUMBER.pack(number))
        return known

    def _forget(self, kind: str, names: Collection[str]) -> None:
        for name, number in self._names(kind).items():
            if name not in names:
                self._note(kind, {_name(name): _NUMBER.pack(number)}, [], [_name(name)])
                self.maps[kind].delete(_name(name))

    def blocked(self) -> dict[str, list[Network]]:
        """Return the lists with their prefixes."""
        names = {number: name for name, number in self._names("lists").items()}
        found: dict[str, list[Network]] = {name: [] for name in names.values()}
        for key, value in self.maps["blocked"].items():
            found.setdefault(names.get(_NUMBER.unpack(value)[0], "?"), []).append(prefix_of(*_PREFIX.unpack(key)))
        return found

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return packets and bytes by list, rule and other result."""
        return {name: self._count(place) for name, place in self.places().items()}

    def places(self) -> dict[str, int]:
        """Return the index of the counters of each list, rule and other result."""
        places = {f"list {name}": number for name, number in sorted(self._names("lists").items())}
        rules = sorted(self._names("rule_names").items())
        places |= {f"rule {name}": _FIRST_RULE + number for name, number in rules}
        places |= {name: MAX_LISTS + place for place, name in enumerate(OTHERS)}
        return places

    def _count(self, place: int) -> tuple[int, int]:
        parts = list(_COUNT.iter_unpack(self.maps["counts"].get(_NUMBER.pack(place)) or b""))
        return sum(packets for packets, _ in parts), sum(size for _, size in parts)


def _gap_ns(per_second: int) -> int:
    """Return the interval between two packets; 0 for no rate."""
    return _NS_PER_S // per_second if per_second else 0


def _rate(gap_ns: int, burst_ns: int) -> tuple[int, int]:
    """Return a rate per second, and its burst."""
    return (round(_NS_PER_S / gap_ns), round(burst_ns / gap_ns)) if gap_ns else (0, 0)


def pack_rule(rule: FilterRule) -> bytes:
    """Return a rule in the program's form, without its number."""
    ports = rule.source_port, rule.destination_port
    ranges = (*(one or (0, 65535) for one in ports), rule.length, rule.protocol, rule.ttl)
    mask, flags = rule.tcp_flags or (0, 0)
    version = next((prefix.version for prefix in (rule.source, rule.destination) if prefix), 0)
    return _RULE.pack(
        *_masked(rule.source),
        *_masked(rule.destination),
        *(end for one in ranges for end in one),
        flags & mask,
        mask,
        bool(rule.fragment),
        rule.fragment is not None,
        any(one is not None for one in ports) or mask != 0,
        version,
        0xFF if version else 0,
        0,
        _gap_ns(rule.packets_per_second),
    )


def _numbered(rule: bytes, number: int) -> bytes:
    """Return a packed rule with its number, by which it is counted."""
    return rule[:_RULE_NUMBER] + _NUMBER.pack(number) + rule[_RULE_NUMBER + _NUMBER.size :]


def _rule_number(rule: bytes) -> int:
    return int(_NUMBER.unpack_from(rule, _RULE_NUMBER)[0])


def _masked(prefix: Network | None) -> tuple[bytes, bytes]:
    """Return an address and a mask of 16 bytes."""
    if prefix is None:
        return bytes(16), bytes(16)
    bits, address = prefix_key(prefix)
    return address, ((1 << bits) - 1 << 128 - bits).to_bytes(16, "big")


def _keys(prefix: Network) -> list[bytes]:
    """Return the keys of a prefix; of an IPv6 prefix that contains the mapped IPv4 addresses, those around them."""
    if prefix.version == 6 and prefix.prefixlen < 96 and prefix.supernet_of(_MAPPED):
        return [_PREFIX.pack(*prefix_key(part)) for part in prefix.address_exclude(_MAPPED)]
    return [_PREFIX.pack(*prefix_key(prefix))]


def _name(name: str) -> bytes:
    encoded = name.encode()
    if not 0 < len(encoded) <= MAX_NAME_BYTES:
        raise PinError(f"the name of a list is 1 to {MAX_NAME_BYTES} bytes: {name!r}")
    return _LIST.pack(encoded)


def load(interfaces: Collection[str], filesystem: Path = DEFAULT_FILESYSTEM) -> None:
    """Load the program and attach it to exactly these interfaces; an attached one is replaced atomically.

    Lists and settings that are pinned stay; at first there are none, and everything passes.

    Raises:
        PinError: If an interface does not exist, or cannot have it.
    """
    folder = prepare(filesystem)
    program = load_program(PROGRAM, folder, _MAPS)
    try:
        attach_to_interfaces(
            folder, PROGRAM, interfaces, program.program("filter"), partial(program.attach_to_interface, "filter")
        )
    finally:
        program.close()


def attached(filesystem: Path = DEFAULT_FILESYSTEM) -> list[str]:
    """Return the interfaces that the program is attached to."""
    return linked_interfaces(folder_of(filesystem), PROGRAM)


def remove(filesystem: Path = DEFAULT_FILESYSTEM) -> bool:
    """Detach the program from all interfaces, and remove its lists; return whether there was one."""
    return unload(folder_of(filesystem), PROGRAM)
