"""Packets that an owner drops, in the form of the program's maps."""

import struct
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv6Network

import msgspec

from spectrum.core.filter_rules import FilterRule
from spectrum.core.packets import MAX_RULES
from spectrum.kernel.filter.names import OWNERS, full_name, owned, packed_name
from spectrum.kernel.filter.rules import check_rule, pack_rule, pack_sets
from spectrum.kernel.pins import Network, PinError, prefix_key

PREFIX = struct.Struct("=I16s")
_MAPPED = IPv6Network("::ffff:0:0/96")

# Prefixes, or their concatenated keys in the maps.
Prefixes = Collection[Network] | bytes


class Drops(msgspec.Struct, array_like=True, frozen=True):
    """The drops of one owner, in the form of the maps.

    Attributes:
        guard: Prefixes whose packets always pass, by `pack_prefixes`.
        lists: Prefixes by the name of their list, likewise.
        rules: Rules by name, in order, by `pack_rule`.
        sets: The values of the sets of rules that have any, by rule name, by `pack_sets`.
    """

    guard: bytes = b""
    lists: dict[str, bytes] = {}
    rules: dict[str, bytes] = {}
    sets: dict[str, list[bytes]] = {}

    def check(self, owner: str) -> None:
        """Validate drops from another process.

        Raises:
            PinError: If they are invalid, or a name belongs to another owner.
        """
        for name in (*self.lists, *self.rules):
            packed_name(full_name(owner, name))
            if owned(name) != (OWNERS[0], name):
                raise PinError(f"{name!r}: names that begin so are those of another owner")
        if len(self.rules) > MAX_RULES:
            raise PinError(f"there are {MAX_RULES} rules at most")
        if not self.sets.keys() <= self.rules.keys():
            raise PinError("sets of rules that there are not")
        for name, rule in self.rules.items():
            check_rule(rule, self.sets.get(name, []))
        for packed in (self.guard, *self.lists.values()):
            _check_prefixes(packed)


def pack_drops(
    guard: Iterable[Network] = (),
    lists: Mapping[str, Iterable[Network]] | None = None,
    rules: Mapping[str, FilterRule] | None = None,
) -> Drops:
    """Return drops in the form of the maps."""
    rules = rules or {}
    return Drops(
        pack_prefixes(guard),
        {name: pack_prefixes(prefixes) for name, prefixes in (lists or {}).items()},
        {name: pack_rule(rule) for name, rule in rules.items()},
        pack_sets(rules),
    )


def pack_prefixes(prefixes: Iterable[Network]) -> bytes:
    """Return prefixes in the form of keys of the maps."""
    return b"".join(key for prefix in prefixes for key in _keys(prefix))


def _check_prefixes(packed: bytes) -> None:
    if len(packed) % PREFIX.size:
        raise PinError("prefixes of a length that they do not have")
    for bits, address in PREFIX.iter_unpack(packed):
        if bits > 128 or int.from_bytes(address, "big") & ((1 << 128 - bits) - 1):
            raise PinError(f"{address.hex()}/{bits} is no prefix")


def keys_of(prefixes: Prefixes) -> list[bytes]:
    """Return the keys of prefixes."""
    packed = prefixes if isinstance(prefixes, bytes) else pack_prefixes(prefixes)
    return [packed[start : start + PREFIX.size] for start in range(0, len(packed), PREFIX.size)]


def _keys(prefix: Network) -> list[bytes]:
    """Return the keys of a prefix; for an IPv6 prefix that contains the mapped IPv4 addresses, those around them."""
    if prefix.version == 6 and prefix.prefixlen < 96 and prefix.supernet_of(_MAPPED):
        return [PREFIX.pack(*prefix_key(part)) for part in prefix.address_exclude(_MAPPED)]
    return [PREFIX.pack(*prefix_key(prefix))]
