"""An index of the objects that refer to an object."""

from collections.abc import Iterable

from spectrum.core.configuration.feature import Named


class Referrers:
    """Finds the objects that refer to an object, whether that exists or not, in the order in which they were added."""

    def __init__(self) -> None:
        self._by_named: dict[Named, dict[Named, None]] = {}

    def add(self, one: Named, refers_to: Iterable[Named]) -> None:
        """Add an object, by those that it refers to."""
        for named in refers_to:
            self._by_named.setdefault(named, {})[one] = None

    def remove(self, one: Named, refers_to: Iterable[Named]) -> None:
        """Remove an object."""
        for named in refers_to:
            found = self._by_named.get(named, {})
            found.pop(one, None)
            if not found:
                self._by_named.pop(named, None)

    def referrers_of(self, named: Named) -> Iterable[Named]:
        """Return the objects that refer to an object."""
        return self._by_named.get(named, {}).keys()
