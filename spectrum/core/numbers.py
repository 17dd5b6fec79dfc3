"""Assigns numbers to labels; a number stays the same as long as its label is in use."""

from collections.abc import Callable, Iterable, Mapping


class NumbersExhausted(Exception):
    """There are more labels than numbers."""


class Numbers:
    """Assigns small numbers from 1 on.

    Args:
        limit: The highest number.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._next = 1
        self._assigned: dict[str, int] = {}
        # Numbers of labels that are gone; the longest gone first.
        self._released: dict[int, None] = {}

    def plan(self, labels: Iterable[str], in_use: Callable[[int], bool] = lambda number: False) -> dict[str, int]:
        """Return numbers for exactly these labels; nothing is assigned before `keep`.

        Args:
            labels: The labels.
            in_use: Returns whether the number of a label that is gone cannot be reused yet.

        Raises:
            NumbersExhausted: If there are not enough.
        """
        wanted = list(dict.fromkeys(labels))
        fresh = iter(range(self._next, self._limit + 1))
        again = (number for number in tuple(self._released) if not in_use(number))
        planned = {}
        for label in wanted:
            number = self._assigned.get(label) or next(fresh, None) or next(again, None)
            if number is None:
                raise NumbersExhausted(f"more than {self._limit}")
            planned[label] = number
        return planned

    def keep(self, planned: Mapping[str, int]) -> None:
        """Assign the numbers that `plan` returned; those of all other labels become free."""
        for label, number in self._assigned.items():
            if label not in planned:
                self._released[number] = None
        for number in planned.values():
            self._released.pop(number, None)
        self._assigned = dict(planned)
        self._next = max(self._next, max(planned.values(), default=0) + 1)
