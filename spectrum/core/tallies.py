"""Sums of what may come too often for a record each."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

# A sum is told when it is this old: so often at most, and so late at most.
PERIOD_S = 1.0


class Tally(Generic[Key]):
    """Counts by key, and gives each sum away once it is a second old.

    Sums leave in the order in which they began, so that whoever asks for a few at a time, often, gets all of them.
    """

    def __init__(self) -> None:
        self._sums: dict[Key, tuple[int, float]] = {}

    def count(self, key: Key, number: int, now: float) -> None:
        """Add to the sum of a key.

        Args:
            key: What is counted.
            number: How many.
            now: Monotonic seconds.
        """
        known = self._sums.get(key)
        self._sums[key] = (number, now) if known is None else (known[0] + number, known[1])

    def take(self, now: float, at_most: int) -> Iterator[tuple[Key, int]]:
        """Give away the oldest sums that are a second old, `at_most` so many."""
        due: list[Key] = []
        for key, (_, began) in self._sums.items():
            if len(due) == at_most or now < began + PERIOD_S:
                break
            due.append(key)
        for key in due:
            yield key, self._sums.pop(key)[0]

    def __len__(self) -> int:
        return len(self._sums)
