"""Records of changes of the configuration, kept in the journal beside those of sessions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

# Number of objects listed in a record of a change of thousands.
MAX_TEXT = 1000

# At a start; by a reload of the file; by the API.
Occasion = Literal["configurationStarted", "configurationReloaded", "configurationChanged"]


class ConfigurationEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A configuration that is served from now on. `Revision` is its generation, as in `spectrum status`; `Author` is
    the API's token or user, if known. `Text` describes the change, a sentence for each object.
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
        occasion: The kind of change.
        at: When it was served.
        revision: The generation.
        author: Who made it; empty if unknown.
        changes: The changes, a line for each object.
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
    """Return the event as a line of text, without its time."""
    return f"revision {event.Revision}{event.Author and f' by {event.Author}'}: {event.Text or 'nothing changed'}"
