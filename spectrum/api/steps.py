"""What a request went through and when, noted where it happens. Who notes knows nothing of traces."""

import time
from collections.abc import Iterable

# What was done, from when to when, in nanoseconds since 1970.
Step = tuple[str, int, int]


class Steps:
    """The steps of one request.

    Attributes:
        all: In the order in which they ended.
    """

    def __init__(self) -> None:
        self.all: list[Step] = []

    def note(self, name: str, began_ns: int) -> None:
        """Note a step that ends now."""
        self.all.append((name, began_ns, time.time_ns()))

    def add(self, steps: Iterable[Step]) -> None:
        """Note what another process did."""
        self.all.extend(steps)
