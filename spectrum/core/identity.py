"""Differences of two sequences or mappings of many objects, in which unchanged objects are identical.

Nothing is done in Python for each object: 10,000 take a third of a millisecond.
"""

from collections.abc import Iterable, Sequence
from itertools import compress, count, islice
from operator import is_not
from typing import TypeVar

T = TypeVar("T")


def unlike(one: Sequence[T], other: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Return two sequences without the objects that are identical at the same position. For sequences of equal length
    these are all such positions, otherwise the common beginning and end.
    """
    if len(one) == len(other):
        differ = list(map(is_not, one, other))
        return list(compress(one, differ)), list(compress(other, differ))
    shorter = min(len(one), len(other))
    begin = _alike(one, other, shorter)
    end = _alike(reversed(one), reversed(other), shorter - begin)
    return one[begin : len(one) - end], other[begin : len(other) - end]


def unlike_names(one: dict[str, T], other: dict[str, T]) -> list[str]:
    """Return the names that have another object in `other`, or none, and those that `other` adds."""
    if one is other:
        return []
    if len(one) == len(other) and list(one) == list(other):
        return list(compress(other, map(is_not, one.values(), other.values())))
    shorter = min(len(one), len(other))
    begin = min(_alike(one, other, shorter), _alike(one.values(), other.values(), shorter))
    rest = shorter - begin
    end = min(
        _alike(reversed(one), reversed(other), rest), _alike(reversed(one.values()), reversed(other.values()), rest)
    )
    found = [name for name in islice(one, begin, len(one) - end) if other.get(name) is not one[name]]
    return found + [name for name in islice(other, begin, len(other) - end) if name not in one]


def _alike(one: Iterable[object], other: Iterable[object], most: int) -> int:
    """Return how many leading objects are identical, up to a maximum."""
    return next(compress(count(), map(is_not, islice(one, most), other)), most)
