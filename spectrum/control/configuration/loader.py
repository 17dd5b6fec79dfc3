"""From a file to a checked `Config`, or to every fault of it at once."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.includes import IncludedFiles, Reading
from spectrum.control.configuration.machine import machine_faults, named_files, start_refusals
from spectrum.control.configuration.references import resolve
from spectrum.control.configuration.reloading import LoadedText
from spectrum.control.configuration.texts import STANDARD_INPUT, name_of_file, read_text
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault, faults_of
from spectrum.core.configuration.feature import Section
from spectrum.core.configuration.fields import check_name, describe
from spectrum.core.configuration.presets import expand
from spectrum.core.features import SECTIONS, check
from spectrum.garbage import freezing
from spectrum.kernel.sockets import local_addresses
from spectrum.wire.address import IPAddress


def no_refusals(config: Config) -> list[Fault]:
    """Return nothing: what would prevent a start is of no interest."""
    return []


class KnownObjects:
    """The objects of the file as it was loaded last: an object that is unchanged is not validated again.

    Attributes:
        text: The result of its text, if that can be split into blocks.
        included: The files that it included, and the folders of its patterns.
        apps: Of each file, how many apps it had.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[object, BaseModel]] = {}
        self._next: dict[tuple[str, str], tuple[object, BaseModel]] = {}
        self.text: LoadedText | None = None
        self.included: list[Path] = []
        self.apps: list[tuple[str, int]] = []

    def validate(self, section: str, name: str, model: type[BaseModel], body: object) -> BaseModel:
        """Return an object of a section.

        Raises:
            ValidationError: If it is not well-formed.
        """
        known = self._known.get((section, name))
        made = known[1] if known is not None and _same(known[0], body) else model.model_validate(body)
        self._next[section, name] = body, made
        return made

    def keep(self) -> None:
        """Forget objects that were not requested since the last call."""
        self._known, self._next = self._next, {}


def _same(one: object, other: object) -> bool:
    """Return whether two values are equal, type included: 1 is not true, and not 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def load_file(
    path: Path,
    reading: Reading = lambda paths: None,
    known: KnownObjects | None = None,
    is_start: bool = False,
) -> Config:
    """Return the configuration in a file.

    Args:
        path: The file; `-` for standard input.
        reading: Called with the file, and with the files that it names, before they are read.
        known: The objects of the last load.
        is_start: Whether reasons for which a daemon of this user would not start are faults, too.

    Raises:
        ConfigError: With every fault of the file, in the order of its lines.
    """
    if path != STANDARD_INPUT:
        reading([path])
    text = read_text(path)
    # Of 10,000 apps it makes a million objects, and no garbage; a later collection would hold the loop for a second.
    with freezing():
        refusals = partial(start_refusals, path=None if path == STANDARD_INPUT else path) if is_start else no_refusals
        return load_text(text, name_of_file(path), local_addresses(), reading, known, path.parent, refusals)


def load_text(
    text: str,
    name: str,
    local: Iterable[IPAddress] = (),
    reading: Reading = lambda paths: None,
    known: KnownObjects | None = None,
    folder: Path = Path(),
    refusals: Callable[[Config], list[Fault]] = no_refusals,
) -> Config:
    """Return the configuration in a text; `name` is what diagnostics call it, `local` this machine's addresses.

    `reading` is called with the files that the text names, before they are read; `known` are the objects of last time.
    What it includes is looked for in `folder`. `refusals` returns further faults of a configuration without faults.

    Raises:
        ConfigError: With every fault of the text, in the order of its lines.
    """
    keeps, known = known is not None, known or KnownObjects()
    if known.text is not None and (config := known.text.load(text, local)) is not None:
        reading(named_files(config))
        if not machine_faults(config):
            return config
    parts = IncludedFiles(name, text, folder, reading)
    known.included, known.apps = parts.files, parts.apps()
    if not parts.is_whole:
        raise ConfigError(parts.told(()))
    resolved = resolve(parts.value)
    value, faults = expand(resolved.value) if isinstance(resolved.value, dict) else (resolved.value, [])
    config, wrong = load_objects(value, local, reading, known)
    config.hide(resolved.replaced)
    if not faults and not wrong:
        wrong = refusals(config)
    if diagnostics := parts.told(resolved.told(faults + wrong)):
        raise ConfigError(diagnostics)
    if keeps and parts.is_single:
        known.text = LoadedText.split(text, parts.document, config, local)
    return config


def load_objects(
    value: object,
    local: Iterable[IPAddress] = (),
    reading: Reading = lambda paths: None,
    known: KnownObjects | None = None,
) -> tuple[Config, list[Fault]]:
    """Return the configuration that plain values make, as YAML has them, and every fault of it.

    The arguments are those of `load_text`. With faults the configuration is what is well-formed of it.
    """
    known = known or KnownObjects()
    config, faults = _validate(value, known)
    known.keep()
    faults += check(config, _names(value), local)
    reading(named_files(config))
    return config, faults + machine_faults(config)


def _names(value: object) -> dict[str, list[str]]:
    """Return the names in each section, whatever their values."""
    sections = value if isinstance(value, dict) else {}
    found = {section.key: sections.get(section.key) for section in SECTIONS}
    return {key: list(given) if isinstance(given, dict) else [] for key, given in found.items()}


def _validate(value: object, known: KnownObjects) -> tuple[Config, list[Fault]]:
    """Check shapes and values: the settings as a whole, each object by itself, so that one fault hides no other.

    Returns:
        What is well-formed by itself, and the faults.
    """
    faults: list[Fault] = []
    if value is None:
        faults.append(Fault((), 'the file is empty; "apps" is required'))
    elif not isinstance(value, dict):
        faults.append(Fault((), f"expected a mapping with apps, found {describe(value)}"))
    if faults:
        return Config(), faults
    assert isinstance(value, dict), "checked above"
    elsewhere = {section.key for section in SECTIONS}
    for key, item in value.items():
        if key not in _keys(Config) and (fault := _misplaced((key,), item)):
            faults.append(fault)
            elsewhere.add(key)
    try:
        settings = Config.model_validate({key: item for key, item in value.items() if key not in elsewhere})
    except ValidationError as exc:
        faults.extend(faults_of(exc, Config, ()))
        settings = Config()
    is_for_api = bool(value.get("api")) or value.get("api") == {}
    if not (is_for_api and not value.get("apps")) and (not isinstance(value.get("apps"), dict) or not value["apps"]):
        found = f"expected a mapping of names to apps, found {describe(value.get('apps'))}"
        faults.append(Fault(("apps",), found) if "apps" in value else Fault((), 'the file has no "apps"'))
    objects = {section.key: _validate_section(section, value.get(section.key), known, faults) for section in SECTIONS}
    return Config.model_construct(**{**dict(settings), **objects}), faults


def _validate_section(section: Section, given: object, known: KnownObjects, faults: list[Fault]) -> Any:
    """Return the well-formed objects of a section; add the faults of the others."""
    found: dict[str, BaseModel] = {}
    key, model = section.key, section.model
    if not isinstance(given, dict):
        if key != "apps" and given is not None:
            faults.append(Fault((key,), f"expected a mapping of names to {key}, found {describe(given)}"))
        return found
    for name, body in given.items():
        if wrong := check_name(name, section.one):
            faults.append(Fault((key, name), wrong, at_key=True))
        try:
            found[name] = known.validate(key, name, model, body)
        except ValidationError as exc:
            misplaced = _misplaced((key, name), body)
            faults.extend([misplaced] if misplaced else faults_of(exc, model, (key, name)))
    return found


def _misplaced(path: tuple[str, ...], body: object) -> Fault | None:
    """Return the fault of an object whose keys belong to another section: its indent is wrong."""
    if not isinstance(body, dict):
        return None
    for section in SECTIONS:
        model = section.model
        required = {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
        if section.key != path[0] and required and required <= body.keys() <= _keys(model):
            return Fault(path, f'this looks like {section.one}: it belongs under "{section.key}:"', at_key=True)
    return None


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}
