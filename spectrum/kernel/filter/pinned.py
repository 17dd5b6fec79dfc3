"""The pinned lists, rules and settings of the filter in the kernel."""

import os
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from spectrum.core.filter_rules import FilterRule
from spectrum.core.packets import SLOTS
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.drops import PREFIX, Drops, Prefixes, keys_of
from spectrum.kernel.filter.flow_programs import FLOW_MAPS, program_places
from spectrum.kernel.filter.names import (
    FIRST_RULE,
    FIRST_TCP,
    MAX_LISTS,
    NAME_BYTES,
    OTHERS,
    OWNERS,
    TCP_REASONS,
    TCP_RESULTS,
    full_name,
    owned,
    packed_name,
    unpacked_name,
)
from spectrum.kernel.filter.rule_maps import RULE_MAPS, RuleMaps, in_slots
from spectrum.kernel.filter.rules import (
    numbered,
    pack_rule,
    pack_sets,
    set_name,
)
from spectrum.kernel.filter.settings import SETTINGS_BYTES, FilterSettings, ProgramSettings
from spectrum.kernel.filter.tcp_protection import TCP_MAPS
from spectrum.kernel.pins import (
    DEFAULT_FILESYSTEM,
    PROCESSORS,
    Network,
    PinError,
    Pinned,
    linked_interfaces,
    prefix_of,
)

_NUMBER = struct.Struct("=I")
_COUNT = struct.Struct("=QQ")
MAPS = {
    "blocked": (PREFIX.size, _NUMBER.size),
    "lists": (NAME_BYTES, _NUMBER.size),
    "guarded": (PREFIX.size, _NUMBER.size),
    "sources": (8, 8),
    "destinations": (20, 8),
    **RULE_MAPS,
    "paid": (_NUMBER.size, 8),
    "met": (_NUMBER.size, 8),
    "rule_names": (NAME_BYTES, _NUMBER.size),
    "samples": (0, 0),
    "counts": (_NUMBER.size, _COUNT.size * PROCESSORS),
    "settings": (_NUMBER.size, SETTINGS_BYTES),
    **TCP_MAPS,
    **FLOW_MAPS,
}

# Changes of maps, in order: the name of the map, former values by key, and new keys.
Journal = list[tuple[str, dict[bytes, bytes], list[bytes]]]


class PinnedFilter(Pinned):
    """The pinned filter of this network namespace.

    Args:
        filesystem: A BPF file system.

    Attributes:
        journal: The changes of this object, for `put_back`.

    Raises:
        PinError: If the program is not loaded.
    """

    def __init__(self, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        super().__init__(PROGRAM, MAPS, filesystem)
        self._rules = RuleMaps(self)
        self.journal: Journal = []

    def put_back(self, journal: Journal) -> None:
        """Undo the changes of a journal.

        Raises:
            PinError: If the kernel refuses it.
        """
        with self.locked():
            for name, former, added in reversed(journal):
                self.set_many(name, former)
                for key in added:
                    self.maps[name].delete(key)

    def _note(self, name: str, present: Mapping[bytes, bytes], fresh: Iterable[bytes], gone: Iterable[bytes]) -> None:
        """Add the values that are about to change to the journal."""
        fresh = list(fresh)
        former = {key: present[key] for key in (*fresh, *gone) if key in present}
        self.journal.append((name, former, [key for key in fresh if key not in present]))

    def interfaces(self) -> list[str]:
        """Return the interfaces that the program is attached to."""
        return linked_interfaces(self.folder, PROGRAM)

    def samples(self) -> int:
        """Return a descriptor of the ring buffer of samples; owned by the caller."""
        return os.dup(self.maps["samples"].descriptor)

    def settings(self) -> FilterSettings:
        """Return the settings."""
        return self._program().shown()

    def _program(self) -> ProgramSettings:
        return ProgramSettings.unpacked(self.maps["settings"].get(_NUMBER.pack(0)) or bytes(SETTINGS_BYTES))

    def _set_program(self, settings: ProgramSettings) -> None:
        self._note("settings", {_NUMBER.pack(0): self._program().packed()}, [_NUMBER.pack(0)], [])
        self.set("settings", _NUMBER.pack(0), settings.packed())

    def configure(self, settings: FilterSettings) -> None:
        """Change the settings.

        Raises:
            PinError: If the kernel refuses them.
        """
        self._set_program(self._program().given(settings))

    def hold(
        self,
        drops: Mapping[str, Drops],
        settings: FilterSettings | None = None,
        held: Mapping[str, Drops] | None = None,
    ) -> None:
        """Replace the guard, rules and lists of all owners, the guard first.

        Args:
            drops: The drops of all owners.
            settings: New settings; None to keep the present ones.
            held: The present drops, if known: unchanged ones are not compared.

        Raises:
            PinError: If there is no room.
        """
        owners = [(owner, drops[owner]) for owner in OWNERS if owner in drops]
        former = [(owner, held[owner]) for owner in OWNERS if owner in held] if held is not None else None
        if former is None or _guards(owners) != _guards(former):
            self.guard(_guards(owners))
        if settings is not None:
            self.configure(settings)
        if former is None or _rules(owners) != _rules(former):
            self.rule(*_rules(owners))
        if former is None or _lists(owners) != _lists(former):
            self.block(_lists(owners))

    def held(self) -> dict[str, Drops]:
        """Return the drops by owner. A prefix on lists of several owners is listed for the first one only."""
        guard: dict[str, list[bytes]] = {}
        for key, value in self.maps["guarded"].items():
            guard.setdefault(OWNERS[_NUMBER.unpack(value)[0]], []).append(key)
        lists = self._held_lists()
        rules, sets = self._held_rules()
        return {
            owner: Drops(
                b"".join(guard.get(owner, ())),
                {name: b"".join(keys) for (of, name), keys in lists.items() if of == owner},
                {name: rule for (of, name), rule in rules.items() if of == owner},
                {name: values for (of, name), values in sets.items() if of == owner},
            )
            for owner in OWNERS
            if owner in guard or any(of == owner for of, _ in (*lists, *rules))
        }

    def _held_lists(self) -> dict[tuple[str, str], list[bytes]]:
        names = {number: owned(name) for name, number in self._names("lists").items()}
        lists: dict[tuple[str, str], list[bytes]] = {one: [] for one in names.values()}
        for key, value in self.maps["blocked"].items():
            if (number := _NUMBER.unpack(value)[0]) in names:
                lists[names[number]].append(key)
        return lists

    def _held_rules(self) -> tuple[dict[tuple[str, str], bytes], dict[tuple[str, str], list[bytes]]]:
        """Return rules and the values of their sets by owner and name."""
        names = {number: owned(name) for name, number in self._names("rule_names").items()}
        program = self._program()
        held = self._rules.held(program.generation) if program.rules else []
        rules = {names[slot.number]: slot for slot in held}
        sets = self._rules.sets() if any(any(slot.sets) for slot in held) else {}
        return {name: slot.packed() for name, slot in rules.items()}, {
            name: [sets.get(one, b"") for one in slot.sets if one] for name, slot in rules.items() if any(slot.sets)
        }

    def rule(self, rules: Mapping[str, FilterRule | bytes], sets: Mapping[str, Sequence[bytes]] | None = None) -> None:
        """Replace the rules; the first one that drops a packet counts it.

        They are written beside the rules in use, and replace them atomically. Automatic rules follow all others.

        Args:
            rules: By name, in order.
            sets: The values of sets of packed rules, by the names of the rules.

        Raises:
            PinError: If there are too many.
        """
        given = {name: rule for name, rule in rules.items() if isinstance(rule, FilterRule)}
        packed = {name: pack_rule(rule) if isinstance(rule, FilterRule) else rule for name, rule in rules.items()}
        with self.locked():
            self._forget("rule_names", rules)
            numbers = self._named("rule_names", rules, SLOTS, FIRST_RULE)
            slots = in_slots({name: numbered(rule, numbers[name]) for name, rule in packed.items()})
            values = {set_name(one): one for of in ({**(sets or {}), **pack_sets(given)}).values() for one in of}
            before = self._program()
            generation = self._rules.write(slots, values, before.generation)
            self._set_program(before._replace(generation=generation, rules=len(packed)))

    def guard(self, prefixes: Mapping[str, Prefixes] | Prefixes) -> None:
        """Replace the guarded prefixes of all owners; new ones are added before old ones are removed.

        Raises:
            PinError: If there is no room.
        """
        by_owner = prefixes if isinstance(prefixes, Mapping) else {OWNERS[0]: prefixes}
        wanted: dict[bytes, bytes] = {}
        for rank, owner in enumerate(OWNERS):
            for key in keys_of(by_owner.get(owner, b"")):
                wanted.setdefault(key, _NUMBER.pack(rank))
        with self.locked():
            self._replace("guarded", wanted)

    def block(self, lists: Mapping[str, Prefixes]) -> tuple[int, int]:
        """Replace the lists; return the number of added and of removed prefixes.

        A prefix on several lists belongs to the first one.

        Raises:
            PinError: If there are too many lists, or prefixes.
        """
        with self.locked():
            self._forget("lists", lists)
            numbers = self._named("lists", lists, MAX_LISTS, 0)
            wanted: dict[bytes, bytes] = {}
            for name, prefixes in lists.items():
                number = _NUMBER.pack(numbers[name])
                for key in keys_of(prefixes):
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
        return {unpacked_name(key): _NUMBER.unpack(value)[0] for key, value in self.maps[kind].items()}

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
            self._note(kind, {}, [packed_name(name)], [])
            self.set("counts", _NUMBER.pack(first_count + number), bytes(MAPS["counts"][1]))
            self.set(kind, packed_name(name), _NUMBER.pack(number))
        return known

    def _forget(self, kind: str, names: Collection[str]) -> None:
        for name, number in self._names(kind).items():
            if name not in names:
                self._note(kind, {packed_name(name): _NUMBER.pack(number)}, [], [packed_name(name)])
                self.maps[kind].delete(packed_name(name))

    def blocked(self) -> dict[str, list[Network]]:
        """Return the lists with their prefixes."""
        names = {number: name for name, number in self._names("lists").items()}
        found: dict[str, list[Network]] = {name: [] for name in names.values()}
        for key, value in self.maps["blocked"].items():
            found.setdefault(names.get(_NUMBER.unpack(value)[0], "?"), []).append(prefix_of(*PREFIX.unpack(key)))
        return found

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return packets and bytes by list, rule and other result; for TCP protection only those above zero."""
        counted = {name: self._count(place) for name, place in self.places().items()}
        return {name: one for name, one in counted.items() if any(one) or not name.startswith(TCP_RESULTS)}

    def places(self) -> dict[str, int]:
        """Return the index of the counters of each list, rule and other result."""
        places = {f"list {name}": number for name, number in sorted(self._names("lists").items())}
        rules = sorted(self._names("rule_names").items())
        places |= {f"rule {name}": FIRST_RULE + number for name, number in rules}
        places |= {name: MAX_LISTS + place for place, name in enumerate(OTHERS)}
        names = (f"{result} {reason}" for result in TCP_RESULTS for reason in TCP_REASONS)
        places |= {name: FIRST_TCP + place for place, name in enumerate(names)}
        return places | dict(program_places(self.maps["program_names"].items()))

    def _count(self, place: int) -> tuple[int, int]:
        parts = list(_COUNT.iter_unpack(self.maps["counts"].get(_NUMBER.pack(place)) or b""))
        return sum(packets for packets, _ in parts), sum(size for _, size in parts)


_Owners = Sequence[tuple[str, Drops]]


def _guards(owners: _Owners) -> dict[str, bytes]:
    return {owner: own.guard for owner, own in owners if own.guard}


def _rules(owners: _Owners) -> tuple[dict[str, bytes], dict[str, list[bytes]]]:
    return (
        {full_name(owner, name): rule for owner, own in owners for name, rule in own.rules.items()},
        {full_name(owner, name): sets for owner, own in owners for name, sets in own.sets.items()},
    )


def _lists(owners: _Owners) -> dict[str, bytes]:
    return {full_name(owner, name): packed for owner, own in owners for name, packed in own.lists.items()}
