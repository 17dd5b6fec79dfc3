"""Advanced TCP protection in the filter's program: bpf/tcp_states.h."""

import struct
import time
from pathlib import Path

import msgspec

from spectrum.core.tcp_protection.policy import MAX_POLICIES, MAX_PREFIXES, Policies, Policy
from spectrum.core.tcp_protection.terms import ADDRESS_BITS
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.vectors import PLACES
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, PinError, Pinned

# After protection is switched on, unknown forwarded flows are passed and learned for this time.
LEARNING_S = 60
_NS_PER_S = 1_000_000_000
_MODES = ("disabled", "monitoring", "enabled")
_NUMBER = struct.Struct("=I")
# Generation, tables; the terms of both components; the end of learning.
_SETTINGS = struct.Struct("=IIQQQQQ")
_POLICY = struct.Struct("=IIQQ")
_PREFIX = struct.Struct("=II16s")
_TERMS = struct.Struct("=QQ")
_TUPLE_BYTES, _FLOW_BYTES = 36, 24
_TABLES = 4
_TABLE_BITS = 32
TCP_MAPS = {
    "tcp_settings": (_NUMBER.size, _SETTINGS.size),
    "tcp_policies": (_NUMBER.size, _POLICY.size),
    "tcp_terms": (_PREFIX.size, _TERMS.size),
    "tcp_rates": (20, 8),
    "tcp_flows": (_TUPLE_BYTES, _FLOW_BYTES),
}
# Their sizes before protection is first switched on: at full size they take 23 MB.
SMALL_TCP_TABLES = {"tcp_rates": 64, "tcp_flows": 64}


class TcpPolicies(msgspec.Struct, array_like=True, frozen=True):
    """Policies in the form of the program's maps, without generations.

    Attributes:
        policies: Concatenated, by term.
        prefixes: Keys and values of prefixes, concatenated.
        tables: A bit for each table with entries.
        components: The terms of each component, two words each.
    """

    policies: bytes = b""
    prefixes: bytes = b""
    tables: int = 0
    components: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def is_on(self) -> bool:
        """Whether any packets are judged."""
        return any(self.components)

    def check(self) -> None:
        """Validate policies from another process.

        Raises:
            PinError: If they are invalid.
        """
        if len(self.policies) % _POLICY.size or len(self.policies) > MAX_POLICIES * _POLICY.size:
            raise PinError(f"{MAX_POLICIES} policies at most, of {_POLICY.size} bytes each")
        if len(self.prefixes) % _ENTRY_BYTES or len(self.prefixes) > MAX_PREFIXES * _ENTRY_BYTES:
            raise PinError(f"{MAX_PREFIXES} prefixes of TCP protection at most, of {_ENTRY_BYTES} bytes each")
        for bits, table, _ in _PREFIX.iter_unpack(b"".join(_keys(self.prefixes))):
            if table >= _TABLES or not _TABLE_BITS <= bits <= _TABLE_BITS + ADDRESS_BITS:
                raise PinError(f"table {table}, {bits} bits: no prefix of TCP protection")
        if not 0 <= self.tables < 1 << _TABLES or not all(0 <= word < 1 << 64 for word in self.components):
            raise PinError("masks of TCP protection of a size that they do not have")


_ENTRY_BYTES = _PREFIX.size + _TERMS.size


def _keys(prefixes: bytes) -> list[bytes]:
    return [prefixes[at : at + _PREFIX.size] for at in range(0, len(prefixes), _ENTRY_BYTES)]


def pack_policies(policies: Policies) -> TcpPolicies:
    """Return policies in the form of the program's maps."""
    prefixes = []
    for place, table in enumerate(policies.tables):
        # For a port, the first two bytes are looked up.
        size = 16 if place < 2 else 2
        for (length, first), mask in table.items():
            key = _PREFIX.pack(_TABLE_BITS + length, place, first.to_bytes(size, "big"))
            prefixes.append(key + _TERMS.pack(*_words(mask)))
    tables = sum(1 << place for place, table in enumerate(policies.tables) if table)
    syn, flow = (_words(mask) for mask in policies.components)
    return TcpPolicies(b"".join(map(_policy, policies.policies)), b"".join(prefixes), tables, (*syn, *flow))


def _words(mask: int) -> tuple[int, int]:
    return mask & (1 << 64) - 1, mask >> 64


def _policy(policy: Policy) -> bytes:
    gap = round(_NS_PER_S / policy.packets_per_second) if policy.packets_per_second else 0
    return _POLICY.pack(_MODES.index(policy.mode), policy.retransmit, gap, gap * policy.burst)


class PinnedTcpProtection(Pinned):
    """The pinned TCP protection of this network namespace.

    Args:
        filesystem: A BPF file system.

    Raises:
        PinError: If the filter is not loaded.
    """

    def __init__(self, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        super().__init__(PROGRAM, TCP_MAPS, filesystem)

    def _settings(self) -> tuple[int, ...]:
        return _SETTINGS.unpack(self.maps["tcp_settings"].get(_NUMBER.pack(0)) or bytes(_SETTINGS.size))

    @property
    def is_on(self) -> bool:
        """Whether any packets are judged."""
        return any(self._settings()[2:6])

    def hold(self, wanted: TcpPolicies, learning_s: float = LEARNING_S) -> None:
        """Replace all policies: they are written beside those in use, and replace them atomically.

        Args:
            wanted: The policies.
            learning_s: The time of learning, if protection was off so far.

        Raises:
            PinError: If the kernel refuses them.
        """
        with self.locked():
            before, _, *components, learning_until_ns = self._settings()
            generation = 1 - (before & 1)
            self._clear(generation)
            places = [_NUMBER.pack(generation * MAX_POLICIES + place) for place in PLACES]
            packed = wanted.policies.ljust(MAX_POLICIES * _POLICY.size, b"\0")
            self.set_many(
                "tcp_policies",
                {place: packed[at * _POLICY.size : (at + 1) * _POLICY.size] for at, place in enumerate(places)},
            )
            self.set_many("tcp_terms", dict(_entries(wanted.prefixes, generation)))
            if not any(components):
                learning_until_ns = time.monotonic_ns() + int(learning_s * _NS_PER_S)
            packed = _SETTINGS.pack(generation, wanted.tables, *wanted.components, learning_until_ns)
            self.set("tcp_settings", _NUMBER.pack(0), packed)
            self._clear(1 - generation)

    def _clear(self, generation: int) -> None:
        """Remove the prefixes of a generation that is not in use."""
        stale = [key for key, _ in self.maps["tcp_terms"].items() if _PREFIX.unpack(key)[1] // _TABLES == generation]
        for key in stale:
            self.maps["tcp_terms"].delete(key)

    def flows(self) -> int:
        """Return the number of known forwarded flows."""
        return sum(1 for _ in self.maps["tcp_flows"].items())


def _entries(prefixes: bytes, generation: int) -> list[tuple[bytes, bytes]]:
    entries = []
    for at in range(0, len(prefixes), _ENTRY_BYTES):
        bits, table, number = _PREFIX.unpack_from(prefixes, at)
        key = _PREFIX.pack(bits, generation * _TABLES + table, number)
        entries.append((key, prefixes[at + _PREFIX.size : at + _ENTRY_BYTES]))
    return entries
