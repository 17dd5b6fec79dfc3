"""A file and the store of the control API, as one source. The file has precedence: it must be valid by itself, and an
object of the store with a name that the file has is set aside. The store is read at a start, and whenever no process
can be writing to it; changes in between come through `propose`, so that a reload of the file never undoes a change that
is about to be written.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from spectrum.control.configuration.actor import ConfigDifference, RolloutError
from spectrum.control.configuration.machine import machine_faults, object_faults
from spectrum.control.configuration.source import FileSource, NothingNew, Reload, Revision
from spectrum.control.configuration.standing import standing
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault, faults_of, nearest
from spectrum.core.configuration.feature import Named, Names
from spectrum.core.configuration.fields import check_name
from spectrum.core.configuration.fitting import Fitting, with_only
from spectrum.core.configuration.joining import NotFitting, SetAside, fitting
from spectrum.core.configuration.plain import plain
from spectrum.core.configuration.presets import expand
from spectrum.core.features import SECTIONS, check
from spectrum.core.identity import unlike_names
from spectrum.kernel.sockets import local_addresses
from spectrum.store.errors import StoreError
from spectrum.store.reading import read_objects

log = logging.getLogger(__name__)

Values = Mapping[str, Mapping[str, Any]]
Models = Mapping[str, Mapping[str, BaseModel]]
_SECTIONS = {section.key: section for section in SECTIONS}


@dataclass(frozen=True, slots=True)
class StoredChange:
    """An object of the store as it is to become; without a value it is removed."""

    section: str
    name: str
    value: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class JoinedConfig:
    """A file with the objects of a store.

    Attributes:
        file: The file's configuration.
        store: The folder of the store; None if the file has no API.
        values: The contents of the store, by section and name.
        models: Those that are well-formed, as models.
        aside: Objects of the store that are not served.
        config: The file joined with the objects that are served.
    """

    file: Config
    store: Path | None = None
    values: Values = field(default_factory=dict)
    models: Models = field(default_factory=dict)
    aside: tuple[SetAside, ...] = ()
    config: Config = field(default_factory=Config)

    def served(self) -> list[Named]:
        """Return the objects of the store that are served, each after those that it may refer to."""
        aside = {(one.section, one.name) for one in self.aside}
        return [(key, name) for key in _SECTIONS for name in self.models.get(key, ()) if (key, name) not in aside]


class JoinedSource:
    """A file, and the objects of its store if it has an API.

    Args:
        file: The file.
        folder: Returns the folder of the store of a configuration with an API.

    Attributes:
        has_writer: Returns whether a process may be writing to the store.
        changed: Called when the file's objects change, or those that are set aside.
    """

    def __init__(self, file: FileSource, folder: Callable[[Config], Path]) -> None:
        self.name = file.name
        self.path = file.path
        self.has_writer: Callable[[], bool] = lambda: False
        self.changed: Callable[[], None] = lambda: None
        self._file = file
        self._folder = folder
        self._served = JoinedConfig(Config())
        self._fitting: _Checked | None = None
        # Changes are checked in threads.
        self._checking = threading.Lock()
        # What was read or proposed last; `took` makes it current once it is served.
        self._next = self._served

    @property
    def served(self) -> JoinedConfig:
        """What is served."""
        return self._served

    # --- as any source --------------------------------------------------------------------------------------------

    def start(self, config: Config) -> Config:
        """Return a file's configuration joined with its store.

        Raises:
            StoreError: If the store cannot be read: it may hold rules that refuse clients.
        """
        self._next = self._joined(config, self._stored(config), ())
        return self._next.config

    def read(self) -> Revision:
        """Return the file's latest revision, joined with the store."""
        revision = self._file.read()
        if revision.config is None:
            return revision
        before = self._served
        try:
            is_known = self._store_of(revision.config) == before.store
            if is_known and self.has_writer():
                values, must = before.values, before.served()
            else:
                values, must = self._stored(revision.config), []
            self._next = self._joined(revision.config, values, must)
        except StoreError as exc:
            return Revision(None, (str(exc),), revision.files)
        except NotFitting as exc:
            return Revision(None, tuple(_told(fault, before.models) for fault in exc.faults), revision.files)
        return replace(revision, config=self._next.config)

    def restored(self) -> Revision:
        """Return the configuration that is served, joined with the current contents of the store.

        Raises:
            NothingNew: If that is served already.
            RolloutError: If the store cannot be read.
        """
        before = self._served
        try:
            values = self._stored(before.file)
        except StoreError as exc:
            raise RolloutError(str(exc)) from exc
        if values == before.values:
            raise NothingNew
        self._next = self._joined(before.file, values, ())
        return Revision(self._next.config, rereads=False)

    def reading(self, paths: Iterable[Path]) -> None:
        """Note the state of the files that a revision names, which are about to be read.

        Raises:
            RolloutError: If one cannot be read.
        """
        self._file.reading(paths)

    def search(self, config: Config) -> None:
        """Search for the files that a configuration names."""
        self._file.search(config)

    def took(self, config: Config, was_read: bool, names_same: bool = False) -> list[str]:
        """Note what is served; return a line for each file in it that changed."""
        before, after = self._served, self._next
        if config is after.config and before is not after:
            self._served = after
            for one in after.aside:
                if one not in before.aside:
                    log.warning("stored %s %s is set aside: %s", _kind(one.section), one.name, one.message)
            if before.file is not after.file or before.aside != after.aside:
                self.changed()
        return self._file.took(config, was_read, names_same)

    async def watch(self, served: Callable[[], Config], reload: Reload) -> None:
        """Serve each new revision of the file, until cancelled."""
        await self._file.watch(served, reload)

    # --- the store ------------------------------------------------------------------------------------------------

    def _store_of(self, config: Config) -> Path | None:
        return self._folder(config) if config.api is not None else None

    def _stored(self, config: Config) -> Values:
        """Return the contents of a file's store; nothing if it has none.

        Raises:
            StoreError: If it cannot be read.
        """
        folder = self._store_of(config)
        return read_objects(folder).objects if folder is not None else {}

    def _joined(self, file: Config, values: Values, must: Iterable[Named]) -> JoinedConfig:
        """Join a file with those objects of a store that fit it.

        Raises:
            NotFitting: If an object that must be served is malformed or conflicts with the file.
        """
        models: dict[str, dict[str, BaseModel]] = {}
        aside: list[SetAside] = []
        required, faults = set(must), list[Fault]()
        for section in _SECTIONS.values():
            for name, value in values.get(section.key, {}).items():
                if name in getattr(file, section.key):
                    aside.append(SetAside(section.key, name, f"the file has {section.one} of this name"))
                    continue
                try:
                    models.setdefault(section.key, {})[name] = self._model(section.key, name, value)
                except NotFitting as exc:
                    aside.append(SetAside(section.key, name, exc.faults[0].message))
                    faults += exc.faults if (section.key, name) in required else ()
        if faults:
            raise NotFitting(faults)
        order = [(key, name) for key in _SECTIONS for name in models.get(key, ())]
        config, unfit = fitting(file, models, order, required.intersection(order), _faults, _Checked)
        return JoinedConfig(file, self._store_of(file), values, models, (*aside, *unfit), config)

    def _model(self, section: str, name: str, value: Any) -> BaseModel:
        """Return the model of an object of the store.

        Raises:
            NotFitting: If it is malformed.
        """
        known = self._served
        if (made := known.models.get(section, {}).get(name)) and known.values[section][name] == value:
            return made
        return validated(section, name, value)

    # --- changes --------------------------------------------------------------------------------------------------

    def propose(self, groups: Sequence[Sequence[StoredChange]]) -> tuple[Revision, list[list[Fault]]]:
        """Return a revision with groups of changes applied, and the faults of each group; a group with faults has no
        effect.

        Raises:
            NothingNew: If no group can be served; its argument is the faults.
        """
        with self._checking:
            fitting = self._take_fitting()
            joined, found = self._all_changed(groups, fitting)
            self._fitting = fitting
        if joined is self._served:
            raise NothingNew(found)
        self._next = joined
        since = ConfigDifference(self._served.config, _named(chain.from_iterable(groups)))
        return Revision(joined.config, rereads=False, since=since), found

    def check(self, groups: Iterable[Sequence[StoredChange]]) -> list[list[Fault]]:
        """Return the faults of groups of changes, each checked by itself. Nothing changes; any thread may call it."""
        found: list[list[Fault]] = []
        for group in groups:
            with self._checking:
                fitting = self._take_fitting()
                try:
                    self._changed(self._served, group, fitting)
                    found.append([])
                except NotFitting as exc:
                    found.append(exc.faults)
                self._fitting = fitting
        return found

    def _take_fitting(self) -> "_Checked":
        """Take the checked form of the configuration that is served; the caller puts it back at the end."""
        fitting, self._fitting = self._fitting, None
        config = self._served.config
        return fitting.take(config) if fitting is not None else _Checked(config)

    def _all_changed(
        self, groups: Sequence[Sequence[StoredChange]], fitting: "_Checked"
    ) -> tuple[JoinedConfig, list[list[Fault]]]:
        """Return the content after groups of changes, and the faults of each; a group with faults has no effect.

        Thousands of objects are copied for a group. So groups are tried as one first, where none changes what another
        one does: most have no faults.
        """
        every = list(chain.from_iterable(groups))
        if len(groups) > 1 and len({(one.section, one.name) for one in every}) == len(every):
            joined, (faults,) = self._all_changed([every], fitting)
            if not faults:
                return joined, [[] for _ in groups]
        joined, found = self._served, list[list[Fault]]()
        for group in groups:
            try:
                joined = self._changed(joined, group, fitting)
                found.append([])
            except NotFitting as exc:
                found.append(exc.faults)
        return joined, found

    def _changed(self, before: JoinedConfig, group: Sequence[StoredChange], fitting: "_Checked") -> JoinedConfig:
        """Return the content after the changes of one group.

        Raises:
            NotFitting: If one of them has a fault.
        """
        values, models = dict(before.values), dict(before.models)
        faults: list[Fault] = []
        for change in group:
            try:
                self._change(before, change, values, models)
            except NotFitting as exc:
                faults += exc.faults
        if faults:
            raise NotFitting(faults)
        named = _named(group)
        aside = tuple(one for one in before.aside if one.name not in named.get(one.section, ()))
        joined = replace(before, values=values, models=models, aside=aside)
        config = before.config.changed(
            {section: {name: models[section].get(name) for name in names} for section, names in named.items()}
        )
        if faults := fitting.faults(config, named):
            raise NotFitting(faults)
        return replace(joined, config=config)

    def _change(
        self, before: JoinedConfig, change: StoredChange, values: dict[str, Any], models: dict[str, Any]
    ) -> None:
        section, name, place = _SECTIONS.get(change.section), change.name, (change.section, change.name)
        if section is None:
            raise NotFitting(
                [Fault((change.section,), f"there are no {change.section}{nearest(change.section, [*_SECTIONS])}")]
            )
        if name in getattr(before.file, section.key):
            fault = f"{section.kind} {name} stands in {self.name}: it is changed there"
            raise NotFitting([Fault(place, fault)])
        for some in (values, models):
            if some.get(section.key) is getattr(before, "values" if some is values else "models").get(section.key):
                some[section.key] = dict(some.get(section.key, {}))
        if change.value is None:
            if values[section.key].pop(name, None) is None:
                raise NotFitting([Fault(place, f"there is no stored {section.kind} {name}")])
            models[section.key].pop(name, None)
        else:
            models[section.key][name] = self._model(section.key, name, change.value)
            values[section.key][name] = change.value

    def standing(self, section: str, name: str) -> tuple[str, int | None]:
        """Return the file that defines an object, and the line, from 1; None if unknown. It reads files, and blocks."""
        paths = self._file.own_files()
        return standing(paths, section, name) if paths else (self.name, None)

    def view(self) -> dict[str, Any]:
        """Return the objects of the file, and those of the store that are set aside, as the API shows them."""
        file = self._served.file
        objects = {
            key: {name: plain(one, (key, name), file.hides) for name, one in getattr(file, key).items()}
            for key in _SECTIONS
        }
        aside = [{"section": one.section, "name": one.name, "message": one.message} for one in self._served.aside]
        return {"path": self.name, "modified_on": self._modified_on(), "file": objects, "set_aside": aside}

    def _modified_on(self) -> float:
        """Return when the file was changed, in seconds since 1970; 0 if unknown."""
        try:
            return self.path.stat().st_mtime if self.path is not None else 0.0
        except OSError:
            return 0.0


def validated(section: str, name: str, value: Any) -> BaseModel:
    """Return an object of a section, made of plain values.

    Raises:
        NotFitting: If it is malformed.
    """
    about, place = _SECTIONS[section], (section, name)
    if wrong := check_name(name, about.one):
        raise NotFitting([Fault(place, wrong, at_key=True)])
    if isinstance(value, dict) and "preset" in value:
        expanded, faults = expand({section: {name: value}})
        if faults:
            raise NotFitting(faults)
        value = expanded[section][name]
    try:
        return about.model.model_validate(value)
    except ValidationError as exc:
        raise NotFitting(list(faults_of(exc, about.model, place))) from exc


class _Checked:
    """A configuration without faults, and what checks of changes to it need: names, and the state of this machine.

    Args:
        config: The configuration.
    """

    def __init__(self, config: Config) -> None:
        self._fitting = Fitting(config, local_addresses())

    def faults(self, after: Config, changed: Names) -> list[Fault]:
        """Replace the configuration, unless the new one has faults; return these."""
        return object_faults(with_only(after, changed)) or self._fitting.faults(after, changed)

    def take(self, config: Config) -> "_Checked":
        """Return this object if it still fits, or a new one for another configuration."""
        before = self._fitting.config
        if self._fitting.local != local_addresses():
            return _Checked(config)
        if before is not config:
            changed = {key: unlike_names(getattr(before, key), getattr(config, key)) for key in _SECTIONS}
            self._fitting.take(config, changed)
        return self


def _named(changes: Iterable[StoredChange]) -> dict[str, list[str]]:
    """Return the names of the objects that changes concern, by section, without sections that do not exist."""
    named: dict[str, dict[str, None]] = {}
    for change in changes:
        if change.section in _SECTIONS:
            named.setdefault(change.section, {})[change.name] = None
    return {section: list(names) for section, names in named.items()}


def _faults(config: Config) -> list[Fault]:
    names = {key: list(getattr(config, key)) for key in _SECTIONS}
    return [*check(config, names, local_addresses()), *machine_faults(config)]


def _kind(section: str) -> str:
    return _SECTIONS[section].kind


def _told(fault: Fault, models: Models) -> str:
    """Return a fault as text; a place in the file has no line here."""
    path = ".".join(map(str, fault.path))
    section, name = (*map(str, fault.path[:2]), "", "")[:2]
    if name not in models.get(section, {}):
        return f"{path}: {fault.message}"
    rest = ".".join(map(str, fault.path[2:]))
    return f"stored {_kind(section)} {name}: {rest and f'{rest}: '}{fault.message}"
