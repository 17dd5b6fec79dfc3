"""The steps of a request, with their times, recorded where they happen. Independent of the tracing library."""

import time
from collections.abc import Iterable

# A step: its name, begin and end, in nanoseconds since 1970.
Step = tuple[str, int, int]


class Steps:
    """The steps of one request.

    Attributes:
        all: In the order in which they ended.
    """

    def __init__(self) -> None:
        self.all: list[Step] = []

    def note(self, name: str, began_ns: int) -> None:
        """Record a step that ends now."""
        self.all.append((name, began_ns, time.time_ns()))

    def add(self, steps: Iterable[Step]) -> None:
        """Add the steps of another process."""
        self.all.extend(steps)
