"""One record for each change of what is configured, as the journal keeps it beside those of sessions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

# Of a change of thousands of objects the record tells the first ones.
MAX_TEXT = 1000

# At a start; by a reload of the file; by the API.
Occasion = Literal["configurationStarted", "configurationReloaded", "configurationChanged"]


class ConfigurationEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A configuration that is served from now on.

    `Revision` is its number since the daemon's start, the generation of `spectrum status`; `Author` who made it, where
    that is known: the API's token or user. `Text` says what changed, a sentence for each object.
    """

    Event: Occasion
    Timestamp: datetime
    Revision: int
    Author: str = ""
    Text: str = ""


def configuration_event(
    occasion: Occasion, at: datetime, revision: int, author: str, changes: Sequence[str]
) -> ConfigurationEvent:
    """Return the record of a change.

    Args:
        occasion: What brought it.
        at: When it was served.
        revision: The number of what is served.
        author: Who made it; empty where nobody is known.
        changes: What changed, a line for each object.
    """
    told: list[str] = []
    room = MAX_TEXT - len(f"; and {len(changes)} more")
    for line in changes:
        room -= len(line) + 2
        if room < 0:
            break
        told.append(line)
    if not told and changes:
        told.append(changes[0][: MAX_TEXT - 50] + "...")
    if len(told) < len(changes):
        told.append(f"and {len(changes) - len(told)} more")
    return ConfigurationEvent(occasion, at, revision, author, "; ".join(told))


def as_text(event: ConfigurationEvent) -> str:
    """Return the event as a line for people, without its time."""
    return f"revision {event.Revision}{event.Author and f' by {event.Author}'}: {event.Text or 'nothing changed'}"
