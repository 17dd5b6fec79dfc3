"""Whether a change fits in a configuration: checked are what changed and what depends on it, not all of thousands."""

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
    """A configuration without faults, and what a change of it would be at odds with.

    Objects that are unchanged must be the same Python objects. Not for several threads at once.

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
        """Go by another configuration, unless it has faults.

        Args:
            after: The configuration.
            changed: What it has that `config` has not, or otherwise, and what it lacks. That may be too much.

        Returns:
            Its faults. Of those that a change of one object brings to many others, some may be missing. Where two
            objects are at odds, it is the changed one that is told of, as far as the check is about both alike.
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
        """Go by another configuration, which is known to have no faults.

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
            for user in self._referrers.of(one):
                touched[user] = None
                if _SECTIONS[user[0]].passes_on and user not in passed_on:
                    passed_on.add(user)
                    found.append(user)
        return list(touched)

    def _part(self, before: Config, changed: Names, touched: list[Named]) -> Config:
        """Return what is to be checked of the configuration, what changed last: it is told of in a fault of two."""
        after, drawn = self.config, chain.from_iterable(one.draws_in(before, self.config, changed) for one in FEATURES)
        # The order in which apps are looked at decides which of two is told of.
        last = dict.fromkeys((section, name) for section, names in changed.items() for name in names)
        parts: dict[str, list[str]] = {}
        first = (one for one in dict.fromkeys((*self._beside(touched), *drawn, *touched)) if one not in last)
        for section, name in (*first, *last):
            parts.setdefault(section, []).append(name)
        return with_only(after, parts)

    def _beside(self, touched: list[Named]) -> Iterator[Named]:
        """Yield the apps that must fit together with those that are touched."""
        after, neighbours = self.config, self._neighbours
        apps = (after.apps[name] for section, name in touched if section == "apps" and name in after.apps)
        yield from (("apps", other) for other in neighbours.of_all(apps, after))
        for section, name in touched:
            if section == "pools":
                yield from (("apps", other) for other in neighbours.senders(name))

    def _add(self, one: Named) -> None:
        """Find an object of the configuration by what it has to do with."""
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
        """Find it no longer."""
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
    """Return a configuration with only some objects, those of them that there are, and with all settings."""
    parts = {}
    for key in _SECTIONS:
        objects = getattr(config, key)
        parts[key] = {name: objects[name] for name in names.get(key, ()) if name in objects}
    return config.model_copy(update=parts)


def _shown(config: Config, one: Named) -> object:
    """Return what others depend on of an object."""
    section, name = one
    found = getattr(config, section).get(name)
    return None if found is None else _SECTIONS[section].shown_by(found)
