"""References in values of a file: `${NAME}`, `${NAME:-default}` and `${credential:NAME}`. They are resolved after the
text was parsed as YAML, so that no value can add a key or end a list. A value may be a secret: faults and lists of
changes show the reference instead.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from spectrum.control.configuration.yaml_marks import Reference, plain_scalar
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.faults import Path as FaultPath

_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<inside>[^}]*)(?P<end>\}?))")
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_CREDENTIAL = re.compile(r"credential:(?P<name>(?!\.\.?$)[^/\0]+)")
_EXPECTED = "expected ${NAME}, ${NAME:-default} or ${credential:NAME}; a dollar sign before a brace is $$"
# systemd's own limit of all credentials of a unit (systemd.exec(5)).
MAX_CREDENTIAL_BYTES = 1 << 20
# Credentials read as root: the user that the daemon runs as may not be able to read them again.
_read: dict[Path, str] = {}


class ReplacedValue(NamedTuple):
    """A value that contained references.

    Attributes:
        text: The text in the file.
        values: The resolved value, and that of each reference: they must not be shown.
    """

    text: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The content of a file with references resolved.

    Attributes:
        value: All of it, with plain values.
        faults: One for each reference that cannot be resolved.
        replaced: Values with references, by path.
    """

    value: Any
    faults: list[Fault]
    replaced: Mapping[FaultPath, ReplacedValue]

    def told(self, faults: list[Fault]) -> list[Fault]:
        """Return all faults, also those of validation, without those that follow from others, and without secrets."""
        missing = {fault.path for fault in self.faults}
        return self.faults + [self._told(fault) for fault in faults if fault.path not in missing]

    def _told(self, fault: Fault) -> Fault:
        shown: dict[str, str] = {}
        for place, replaced in self.replaced.items():
            shorter = min(len(place), len(fault.path))
            if place[:shorter] == fault.path[:shorter]:
                shown |= {value: replaced.text for given in replaced.values for value in _as_shown(given)}
        return replace(fault, message=_hidden(fault.message, shown)) if shown else fault


def _as_shown(value: str) -> list[str]:
    """Return the part of a value that messages may contain: its repr, or the beginning of that."""
    escaped = repr(value)[1:-1]
    return [text for text in (value, escaped, escaped[:56] if len(escaped) > 56 else "") if text]


def _hidden(message: str, shown: Mapping[str, str]) -> str:
    """Return a message in which the file's text replaces resolved values, the longest first."""
    values = "|".join(re.escape(value) for value in sorted(shown, key=len, reverse=True))
    return re.sub(rf"(?<![0-9A-Za-z])(?:{values})(?![0-9A-Za-z])", lambda found: shown[found.group()], message)


def resolve(value: Any) -> Resolved:
    """Return a file's content with references resolved."""
    faults: list[Fault] = []
    replaced: dict[FaultPath, ReplacedValue] = {}

    def walk(node: Any, path: FaultPath) -> Any:
        match node:
            case dict():
                return {key: walk(item, (*path, key)) for key, item in node.items()}
            case list():
                return [walk(item, (*path, index)) for index, item in enumerate(node)]
            case Reference():
                return scalar(node, path)
        return node

    def scalar(reference: Reference, path: FaultPath) -> Any:
        try:
            text, values = _expand(reference.text)
        except ValueError as exc:
            faults.append(Fault(path, str(exc)))
            return reference.text
        if values:
            replaced[path] = ReplacedValue(reference.text, tuple(sorted({text, *values}, key=len, reverse=True)))
        return plain_scalar(text) if reference.is_plain else text

    return Resolved(walk(value, ()), faults, replaced)


def _expand(text: str) -> tuple[str, list[str]]:
    """Resolve the references of a text; return it with the value of each.

    Raises:
        ValueError: If one cannot be resolved.
    """
    values: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if not match["end"]:
            raise ValueError(f"{match.group()!r} is not closed; {_EXPECTED}")
        values.append(_look_up(match["inside"]))
        return values[-1]

    return _DOLLAR.sub(value, text), values


def _look_up(inside: str) -> str:
    if credential := _CREDENTIAL.fullmatch(inside):
        return _credential(credential["name"])
    variable = _VARIABLE.fullmatch(inside)
    if variable is None:
        raise ValueError(f"'${{{inside}}}' is not a reference; {_EXPECTED}")
    name, default = variable["name"], variable["default"]
    value = os.environ.get(name)
    if default is not None and not value:
        return default
    if value is None:
        raise ValueError(f"the environment variable {name} is not set; ${{{name}:-default}} has a default")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the environment variable {name} is not UTF-8 text") from None
    return value


def _credential(name: str) -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise ValueError(
            f"the credential {name}: $CREDENTIALS_DIRECTORY is not set; systemd does where the unit has LoadCredential="
        )
    path = Path(folder, name)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"the credential {name}: {path} is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_CREDENTIAL_BYTES + 1)
        if len(data) > MAX_CREDENTIAL_BYTES:
            raise ValueError(f"the credential {name}: {path} is longer than {MAX_CREDENTIAL_BYTES >> 20} MiB")
        _read[path] = data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ValueError(f"the credential {name}: {path} is not UTF-8 text") from None
    except OSError as exc:
        if not isinstance(exc, PermissionError) or path not in _read:
            raise ValueError(f"the credential {name}: {path}: {(exc.strerror or str(exc)).lower()}") from exc
    return _read[path]
