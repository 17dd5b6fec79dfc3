"""What an operator should look at: each feature tells of its own, and `control/http/live.py` has it shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["failed", "degraded", "past"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong.

    Attributes:
        kind: What it is, such as "origin_down"; docs/dashboard.md has them all.
        severity: "failed" where something is not served, "degraded" where it still is, "past" where all is well again.
        section: The section of the file in which the object stands that it is about; empty for the node itself.
        name: The object's.
        since: When it began (seconds since 1970); 0 where nobody knows.
        facts: What else there is to tell, by what it is.
        apps: Those that are affected, by name, as far as there are any.
    """

    kind: str
    severity: Severity
    section: str = ""
    name: str = ""
    since: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    apps: tuple[str, ...] = ()
