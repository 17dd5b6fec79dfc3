"""What an operator set of an origin by hand, until it is undone: it is out of service, or has another weight."""

from typing import Literal

import msgspec

# "drain": nobody new, and flows stay; "disable": as if it were down, so flows get another origin; "": it serves.
Out = Literal["", "drain", "disable"]


class Override(msgspec.Struct, frozen=True):
    """Of one origin.

    Attributes:
        since: When it was changed last, in seconds since 1970.
        uid: The user who did it; -1 for nobody known.
        out: How it is out of service.
        weight: In place of the file's.
    """

    since: float
    uid: int
    out: Out = ""
    weight: float | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether the file alone counts."""
        return not self.out and self.weight is None
