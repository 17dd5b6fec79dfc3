"""Troubles for operators: each feature reports its own, and `control/http/live.py` collects them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["failed", "degraded", "past"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A trouble.

    Attributes:
        kind: Its kind, such as "origin_down"; docs/dashboard.md lists all.
        severity: "failed" if something is not served, "degraded" if it still is, "past" if it is over.
        section: The section of the affected object in the file; empty for the node itself.
        name: The object's name.
        since: When it began (seconds since 1970); 0 if unknown.
        facts: Further facts, by name.
        apps: The names of affected apps, if any.
    """

    kind: str
    severity: Severity
    section: str = ""
    name: str = ""
    since: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    apps: tuple[str, ...] = ()
