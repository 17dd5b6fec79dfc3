"""The rules of the filter in the kernel: two generations, one of them in use."""

import struct
from collections.abc import Mapping, Sequence, Set

from spectrum.core.packets import MAX_RULES, SLOTS
from spectrum.kernel.filter.names import AUTOMATIC, owned
from spectrum.kernel.filter.rules import SLOT_BYTES, Slot, values_of
from spectrum.kernel.filter.vectors import PLACES, VECTORS_BYTES, pack_vectors
from spectrum.kernel.pins import PinError, Pinned

# Limit of all sets of the rules in use; the table has room for twice as many.
MAX_VALUES = 65536
_NUMBER = struct.Struct("=I")
_MEMBER = struct.Struct("=QQ")
RULE_MAPS = {
    "slots": (_NUMBER.size, SLOT_BYTES),
    "vectors": (_NUMBER.size, VECTORS_BYTES),
    "members": (_MEMBER.size, _NUMBER.size),
}


class RuleMaps:
    """The maps of slots, of bit vectors, and of the values of sets.

    Args:
        pinned: The object that has them.
    """

    def __init__(self, pinned: Pinned) -> None:
        self._pinned = pinned

    def held(self, generation: int) -> list[Slot]:
        """Return the rules of a generation, in order."""
        return [slot for slot in self._slots()[generation] if slot is not None]

    def sets(self) -> dict[int, bytes]:
        """Return the values of sets by their names."""
        values: dict[int, list[int]] = {}
        for key, _ in self._pinned.maps["members"].items():
            name, value = _MEMBER.unpack(key)
            values.setdefault(name, []).append(value)
        return {name: struct.pack(f"={len(found)}Q", *sorted(found)) for name, found in values.items()}

    def write(self, slots: Sequence[Slot | None], sets: Mapping[int, bytes], in_use: int) -> int:
        """Write rules beside the generation in use; return their generation, which the settings then activate.

        Raises:
            PinError: If there is no room for their sets.
        """
        generation = 1 - in_use
        held = [{name for slot in of if slot for name in slot.sets if name} for of in self._slots()]
        self._write_sets(sets, in_use=held[in_use], former=held[generation])
        first = generation * SLOTS
        self._pinned.set_many(
            "slots",
            {
                _NUMBER.pack(first + place): slot.packed() if slot else bytes(SLOT_BYTES)
                for place, slot in zip(PLACES, slots, strict=True)
            },
        )
        self._pinned.set("vectors", _NUMBER.pack(generation), pack_vectors(slots, sets))
        return generation

    def _slots(self) -> list[list[Slot | None]]:
        """Return the rules of both generations by their slots."""
        packed = dict(self._pinned.maps["slots"].items())
        return [
            [
                Slot.unpacked(one) if any(one) else None
                for one in (packed[_NUMBER.pack(first + place)] for place in PLACES)
            ]
            for first in (0, SLOTS)
        ]

    def _write_sets(self, sets: Mapping[int, bytes], in_use: Set[int], former: Set[int]) -> None:
        """Write sets beside those of the rules in use, to which an undo returns; remove older ones."""
        if sum(map(len, sets.values())) > 8 * MAX_VALUES:
            raise PinError(f"there are {MAX_VALUES} values at most in all sets of rules")
        members, kept = self._pinned.maps["members"], in_use | sets.keys()
        if former - kept:
            for key, _ in list(members.items()):
                if _MEMBER.unpack(key)[0] not in kept:
                    members.delete(key)
        fresh = sets.keys() - in_use - former
        keys = [_MEMBER.pack(name, value) for name in fresh for value in values_of(sets[name])]
        self._pinned.set_many("members", dict.fromkeys(keys, _NUMBER.pack(1)))


def in_slots(rules: Mapping[str, bytes]) -> list[Slot | None]:
    """Return packed rules by slot: automatic ones in the second half.

    Raises:
        PinError: If there are too many.
    """
    own: list[Slot | None] = []
    automatic: list[Slot | None] = []
    for name, packed in rules.items():
        (automatic if owned(name)[0] == AUTOMATIC else own).append(Slot.unpacked(packed))
    if max(len(own), len(automatic)) > MAX_RULES:
        raise PinError(f"there are {MAX_RULES} rules at most, and {MAX_RULES} of detection")
    return [
        *own,
        *[None] * (MAX_RULES - len(own)),
        *automatic,
        *[None] * (MAX_RULES - len(automatic)),
    ]
