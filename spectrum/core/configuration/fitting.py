"""Checks of changes to a configuration: only changed objects and those that depend on them are checked."""

from collections.abc import Iterable, Iterator
from itertools import chain

from spectrum.core.configuration.changes import settings_differ
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import Named, Names
from spectrum.core.configuration.neighbours import Neighbours
from spectrum.core.configuration.referrers import Referrers
from spectrum.core.features import FEATURES, SECTIONS, check
from spectrum.wire.address import IPAddress

_SECTIONS = {section.key: section for section in SECTIONS}


class Fitting:
    """A configuration without faults, with what is needed to check changes of it. Unchanged objects must be the same
    Python objects. Not thread-safe.

    Args:
        config: The configuration.
        local: The addresses of this machine.

    Attributes:
        config: The configuration that the last change led to.
        local: The addresses.
    """

    def __init__(self, config: Config, local: Iterable[IPAddress]) -> None:
        self.config = config
        self.local = frozenset(local)
        self._referrers = Referrers()
        self._neighbours = Neighbours(self.local)
        for section in SECTIONS:
            for name in getattr(config, section.key):
                self._add((section.key, name))

    def faults(self, after: Config, changed: Names) -> list[Fault]:
        """Replace the configuration, unless the new one has faults.

        Args:
            after: The configuration.
            changed: The objects that differ from `config`, or a superset of them.

        Returns:
            Its faults. If a change of one object causes faults in many others, some may be missing. If two objects
                conflict, the fault is reported for the changed one, where the check is symmetric.
        """
        before, names = self.config, {key: getattr(after, key) for key in _SECTIONS}
        if settings_differ(before, after):
            part = after
            self.take(after, changed)
        else:
            part = self._part(before, changed, self.take(after, changed))
        found = list(check(part, names, self.local, after))
        if found:
            self.take(before, changed)
        return found

    def take(self, after: Config, changed: Names) -> list[Named]:
        """Replace the configuration by one that is known to have no faults.

        Args:
            after, changed: As for `faults`.

        Returns:
            The objects that changed, and those that depend on them by reference.
        """
        touched = self._touched(after, changed)
        for one in touched:
            self._remove(one)
        self.config = after
        for one in touched:
            self._add(one)
        return touched

    def _touched(self, after: Config, changed: Names) -> list[Named]:
        touched = dict.fromkeys((section, name) for section, names in changed.items() for name in names)
        found = [one for one in touched if _shown(self.config, one) != _shown(after, one)]
        passed_on = set(found)
        for one in found:  # it grows
            for user in self._referrers.referrers_of(one):
                touched[user] = None
                if _SECTIONS[user[0]].passes_on and user not in passed_on:
                    passed_on.add(user)
                    found.append(user)
        return list(touched)

    def _part(self, before: Config, changed: Names, touched: list[Named]) -> Config:
        """Return the part of the configuration to be checked, with changed objects last: a conflict is reported for the
        last.
        """
        after, drawn = self.config, chain.from_iterable(one.draws_in(before, self.config, changed) for one in FEATURES)
        # In a conflict of two apps the later one is reported.
        last = dict.fromkeys((section, name) for section, names in changed.items() for name in names)
        parts: dict[str, list[str]] = {}
        first = (one for one in dict.fromkeys((*self._beside(touched), *drawn, *touched)) if one not in last)
        for section, name in (*first, *last):
            parts.setdefault(section, []).append(name)
        return with_only(after, parts)

    def _beside(self, touched: list[Named]) -> Iterator[Named]:
        """Yield the apps that may conflict with the changed ones."""
        after, neighbours = self.config, self._neighbours
        apps = (after.apps[name] for section, name in touched if section == "apps" and name in after.apps)
        yield from (("apps", other) for other in neighbours.of_all(apps, after))
        for section, name in touched:
            if section == "pools":
                yield from (("apps", other) for other in neighbours.senders(name))

    def _add(self, one: Named) -> None:
        """Add an object of the configuration to the indexes."""
        config, neighbours, (section, name) = self.config, self._neighbours, one
        found = getattr(config, section).get(name)
        if found is None:
            return
        self._referrers.add(one, _SECTIONS[section].named_by(found))
        if section == "apps":
            neighbours.add(name, found, config)
        elif section == "pools":
            neighbours.add_pool(name, found)

    def _remove(self, one: Named) -> None:
        """Remove an object from the indexes."""
        config, neighbours, (section, name) = self.config, self._neighbours, one
        found = getattr(config, section).get(name)
        if found is None:
            return
        self._referrers.remove(one, _SECTIONS[section].named_by(found))
        if section == "apps":
            neighbours.remove(name, found, config)
        elif section == "pools":
            neighbours.remove_pool(name, found)


def with_only(config: Config, names: Names) -> Config:
    """Return a configuration with only some objects, as far as they exist, and all settings."""
    parts = {}
    for key in _SECTIONS:
        objects = getattr(config, key)
        parts[key] = {name: objects[name] for name in names.get(key, ()) if name in objects}
    return config.model_copy(update=parts)


def _shown(config: Config, one: Named) -> object:
    """Return the part of an object that others depend on."""
    section, name = one
    found = getattr(config, section).get(name)
    return None if found is None else _SECTIONS[section].shown_by(found)
