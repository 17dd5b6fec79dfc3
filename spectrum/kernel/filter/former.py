"""Rules in the pinned form of the previous version, which matched them one by one.

Maps that have only grown are taken over unchanged (`outgrown.py`); these have another form. Their settings are in
`unused` of struct settings of bpf/filter.bpf.c.
"""

import struct
from pathlib import Path

from spectrum.core.filter_rules import ANY_NUMBER, FilterRule
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.names import unpacked_name
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.libbpf import Map
from spectrum.kernel.pins import Network, prefix_of

# Addresses with masks; ranges of ports, lengths, protocols and lifetimes; TCP flags, fragments, ports or flags asked
# for; the number of the rule, and the interval of packets that pass.
_RULE = struct.Struct("=16s16s16s16s10HBBBBBBBxIQ")
_NUMBER = struct.Struct("=I")
# In the settings: the first rule in use, and the number of rules.
_IN_USE = struct.Struct("=44xII")
_NS_PER_S = 1_000_000_000


def take_over_rules(filesystem: Path) -> None:
    """Convert the rules of the previous version, if there are any, and remove the former ones.

    Raises:
        PinError: If the kernel refuses them.
        BpfError: If they cannot be read.
    """
    with PinnedFilter(filesystem) as one:
        path = one.folder / f"{PROGRAM}_rules"
        if not path.exists():
            return
        former = Map.pinned(path, _NUMBER.size, _RULE.size)
        try:
            first, count = _IN_USE.unpack_from(one.maps["settings"].get(_NUMBER.pack(0)) or bytes(_IN_USE.size))
            packed = [former.get(_NUMBER.pack(place)) or bytes(_RULE.size) for place in range(first, first + count)]
        finally:
            former.close()
        names = {_NUMBER.unpack(value)[0]: unpacked_name(key) for key, value in one.maps["rule_names"].items()}
        one.rule(dict(_rule(rule, names) for rule in packed))
        path.unlink()


def _rule(packed: bytes, names: dict[int, str]) -> tuple[str, FilterRule]:
    source, source_mask, destination, destination_mask, *fields = _RULE.unpack(packed)
    from_port, to_port, length, protocol, lifetime = zip(fields[0:10:2], fields[1:10:2], strict=True)
    flags, flags_mask, fragment, fragment_mask, has_ports, version, _, number, packet_ns = fields[10:]
    source_port = from_port if from_port != ANY_NUMBER or (has_ports and not flags_mask) else None
    return names[number], FilterRule(
        _prefix(source, source_mask),
        _prefix(destination, destination_mask),
        protocol,
        source_port,
        to_port if to_port != ANY_NUMBER else None,
        length,
        lifetime,
        (flags_mask, flags) if flags_mask else None,
        bool(fragment) if fragment_mask else None,
        round(_NS_PER_S / packet_ns) if packet_ns else 0,
        version or None,
        action="limit" if packet_ns else "block",
    )


def _prefix(address: bytes, mask: bytes) -> Network | None:
    bits = int.from_bytes(mask, "big").bit_count()
    return prefix_of(bits, address) if bits else None
