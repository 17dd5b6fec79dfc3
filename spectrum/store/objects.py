"""Objects of the store, with the values that they would have in the file, and their changes."""

import hashlib
import re
import secrets
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from spectrum.core.configuration.fields import MAX_NAME, check_name

# Of an id, in hex digits, as Cloudflare's.
ID_DIGITS = 32
# Digits of an id that are added to a name that is taken.
SUFFIX_DIGITS = 8


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the store, or of the file as the API shows it.

    Attributes:
        section: Its top-level key in the file.
        id: 32 hex digits.
        name: Its key in the section.
        value: The value of that key in the file.
        created_on: In seconds since 1970. Not an order: clocks are set back.
        modified_on: The same.
        revision: The number of the store's last change of it; larger is later. 0 for objects of the file.
        is_in_file: Whether it is in the file, and read-only to the API.
    """

    section: str
    id: str
    name: str
    value: dict[str, Any]
    created_on: float
    modified_on: float
    revision: int = 0
    is_in_file: bool = False


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """The new value of an object; None deletes it. The id identifies the object, the name may be new."""

    section: str
    id: str
    name: str
    value: dict[str, Any] | None


def file_id(section: str, name: str) -> str:
    """Return the id of an object of the file: constant as long as it has this name."""
    return hashlib.sha256(f"{section}/{name}".encode()).hexdigest()[:ID_DIGITS]


def new_id() -> str:
    """Return a random id."""
    return secrets.token_hex(ID_DIGITS // 2)


def free_name(wanted: str, taken: Container[str], object_id: str) -> str:
    """Return a key for an object: its name in the API if valid and free, otherwise with some digits of its id."""
    if check_name(wanted, "an object") is None and wanted not in taken:
        return wanted
    stem = re.sub("[^A-Za-z0-9._-]+", "-", wanted).lstrip("-._")
    for digits in (SUFFIX_DIGITS, ID_DIGITS):
        end = object_id[:digits]
        name = "-".join(filter(None, (stem[: MAX_NAME - 1 - digits].rstrip("-."), end)))
        if name not in taken:
            return name
    raise ValueError(f"{name} is taken, id and all")
