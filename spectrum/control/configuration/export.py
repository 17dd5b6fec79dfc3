"""Exports all configuration, file and store, as one file; and selects what the store can import from a file."""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.includes import KEY, OWN_KEYS, IncludedFiles
from spectrum.control.configuration.references import resolve
from spectrum.control.configuration.texts import name_of_file, read_text
from spectrum.control.configuration.yaml_marks import Reference
from spectrum.control.configuration.yaml_text import as_written, yaml_text
from spectrum.core.configuration.fields import describe
from spectrum.core.configuration.presets import expand
from spectrum.core.features import SECTIONS
from spectrum.store.audit import replaced, secret_places
from spectrum.store.objects import free_name
from spectrum.store.reading import StoreContent
from spectrum.store.tokens import StoredToken

# The prefix of the names of variables for secrets.
VARIABLE = "SPECTRUM_SECRET"
_KEYS = tuple(section.key for section in SECTIONS)
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exported:
    """A file with the whole configuration.

    Attributes:
        text: The file.
        variables: The environment variables that replace secrets in it.
        set_aside: Section and name of each object of the store that the file has, too; the file's is exported.
    """

    text: str
    variables: list[str]
    set_aside: list[tuple[str, str]]


def export(file: Values, content: StoreContent, tokens: list[StoredToken], with_secrets: bool = False) -> Exported:
    """Return file and store as one file.

    Args:
        file: The file as `raw_file` gives it.
        content: The objects of the store.
        tokens: The tokens of the store.
        with_secrets: Export texts that may be secrets as they are. Otherwise variables replace them.
    """
    whole = {key: dict(item) if key in _KEYS and isinstance(item, dict) else item for key, item in file.items()}
    set_aside = []
    for section, objects in content.objects.items():
        own = whole.setdefault(section, {})
        for name, value in objects.items():
            if name in own:
                set_aside.append((section, name))
            else:
                own[name] = as_written(value)
    _add_tokens(whole, tokens)
    variables: list[str] = []
    if not with_secrets:
        texts: dict[tuple[str | int, ...], Any] = {}
        for place in _secrets_of(whole):
            if place[-1] == "sealed_key":
                continue  # It can be decrypted by this installation only.
            variables.append(_variable(place, variables))
            texts[place] = Reference(f"${{{variables[-1]}:-}}", is_plain=False)
        whole = replaced(whole, texts)
    return Exported(yaml_text(whole), variables, set_aside)


def _secrets_of(whole: Values) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of texts that may be secrets; names of objects are not secrets."""
    for key, item in whole.items():
        if key in _KEYS and isinstance(item, dict):
            for name, value in item.items():
                yield from secret_places(value, (key, name))
        else:
            yield from secret_places({key: item})


def _add_tokens(whole: Values, tokens: list[StoredToken]) -> None:
    for token in tokens:
        own = whole.setdefault("tokens", {})
        if all(not isinstance(one, dict) or one.get("hash") != token.digest for one in own.values()):
            own[free_name(token.name, own, token.id)] = {"hash": token.digest, **as_written(token.value)}


def _variable(place: tuple[str | int, ...], taken: Container[str]) -> str:
    """Return the name of the variable for a path of the file."""
    named = [step for step in place if isinstance(step, str) and step != "header"]
    name = re.sub("[^A-Z0-9]+", "_", "_".join([VARIABLE, *named[:2], *named[2:][-1:]]).upper())
    return next(one for one in _numbered(name) if one not in taken)


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def raw_file(path: Path) -> Values:
    """Return the contents of a file and of those that it includes, with references unresolved.

    Raises:
        ConfigError: If one cannot be read, or is not YAML.
    """
    parts = IncludedFiles(name_of_file(path), read_text(path), path.parent, lambda paths: None)
    if parts.diagnostics or not parts.is_whole:
        raise ConfigError(parts.told(()))
    if parts.value is None:
        return {}
    if not isinstance(parts.value, dict):
        raise ValueError(f"{path}: expected a mapping, found {describe(parts.value)}")
    return {key: item for key, item in parts.value.items() if key != KEY and not str(key).startswith(OWN_KEYS)}


@dataclass(frozen=True, slots=True)
class Importable:
    """The part of a file that the store can import.

    Attributes:
        objects: Per section the values by name; references are resolved.
        left_out: Keys that are settings of the daemon, and stay in its file.
    """

    objects: dict[str, Mapping[str, Any]]
    left_out: list[str]


def importable(path: Path) -> Importable:
    """Return the part of a file that the store can import.

    Raises:
        ConfigError: If it cannot be read, or is not YAML.
        ValueError: If a reference cannot be resolved; a line for each.
    """
    resolved = resolve(raw_file(path))
    value, faults = expand(resolved.value)
    if faults := resolved.told(faults):
        raise ValueError("\n".join(f"{path}: {'.'.join(map(str, fault.path))}: {fault.message}" for fault in faults))
    objects = {key: value[key] for key in _KEYS if isinstance(value.get(key), dict) and value[key]}
    return Importable(objects, [key for key in value if key not in _KEYS])
