"""Numbers for named things, which stay the same as long as the things do."""

from collections.abc import Callable, Iterable


class NumbersExhausted(Exception):
    """More things than numbers."""


class Numbers:
    """Assigns small numbers from 1 on.

    Args:
        limit: The highest number.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._next = 1
        self._assigned: dict[str, int] = {}
        # Of things that are gone; the longest gone first.
        self._released: dict[int, None] = {}

    def assign(self, labels: Iterable[str], in_use: Callable[[int], bool] = lambda number: False) -> dict[str, int]:
        """Return the numbers of exactly these things.

        Args:
            labels: The things.
            in_use: Tells that the number of a thing that is gone can not be given to another one yet.

        Raises:
            NumbersExhausted: If there are not enough.
        """
        wanted = list(dict.fromkeys(labels))
        keep = set(wanted)
        for label in [label for label in self._assigned if label not in keep]:
            self._released[self._assigned.pop(label)] = None
        for label in wanted:
            if label not in self._assigned:
                self._assigned[label] = self._take(in_use)
        return dict(self._assigned)

    def _take(self, in_use: Callable[[int], bool]) -> int:
        if self._next <= self._limit:
            self._next += 1
            return self._next - 1
        for number in self._released:
            if not in_use(number):
                del self._released[number]
                return number
        raise NumbersExhausted(f"more than {self._limit}")
