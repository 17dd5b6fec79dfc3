"""Overrides of an origin by an operator, until they are undone: out of service, or another weight."""

from typing import Literal

import msgspec

# "drain": no new clients, flows stay; "disable": as if it were down, so flows get another origin; "": it serves.
Out = Literal["", "drain", "disable"]


class Override(msgspec.Struct, frozen=True):
    """The override of one origin.

    Attributes:
        since: When it was changed last, in seconds since 1970.
        uid: The user who did it; -1 if unknown.
        out: How it is out of service.
        weight: Replaces the file's weight.
    """

    since: float
    uid: int
    out: Out = ""
    weight: float | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether it overrides nothing."""
        return not self.out and self.weight is None
