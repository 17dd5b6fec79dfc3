"""Decides which objects of a store are compatible with a file: they are served, and the others are set aside, each with
the reason. The file has precedence, then objects that must be served because they are served already, then the rest.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import Named, Names

Objects = Mapping[str, Mapping[str, BaseModel]]


@dataclass(frozen=True, slots=True)
class SetAside:
    """An object of the store that is not served, and why."""

    section: str
    name: str
    message: str


class GrowingConfig(Protocol):
    """A configuration without faults, to which objects are added."""

    def faults(self, after: Config, changed: Names) -> list[Fault]:
        """Add objects, unless that leads to faults; return these."""
        ...


class NotFitting(Exception):
    """An object that must be served has a conflict."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def fitting(
    file: Config,
    objects: Objects,
    order: Sequence[Named],
    must: Iterable[Named],
    find_faults: Callable[[Config], list[Fault]],
    grow: Callable[[Config], GrowingConfig],
) -> tuple[Config, list[SetAside]]:
    """Return a configuration with a file and the compatible objects, and the other objects.

    Args:
        file: It is valid by itself.
        objects: Well-formed by themselves, and none of a name that the file has.
        order: All of them; none refers to a later one.
        must: Those that may not be set aside.
        find_faults: Returns the faults of a configuration.
        grow: Returns an object that does so faster for a configuration without faults to which objects are added.

    Raises:
        NotFitting: If an object that must be served has a conflict.
    """
    if not order:
        return file, []
    required = set(must)
    kept = [one for one in order if one in required]
    left = [one for one in order if one not in required]
    aside: list[SetAside] = []

    def made(names: Iterable[Named]) -> Config:
        chosen = set(names)
        return file.with_objects(
            {key: {name: one for name, one in some.items() if (key, name) in chosen} for key, some in objects.items()}
        )

    while faults := find_faults(config := made([*kept, *left])):
        optional = set(left)
        reasons = {named: fault.message for fault in reversed(faults) if (named := _named(fault)) in optional}
        if not reasons:
            break
        aside += [SetAside(*named, reasons[named]) for named in left if named in reasons]
        left = [named for named in left if named not in reasons]
    if not faults:
        return config, aside
    if faults := find_faults(made(kept)):
        raise NotFitting(faults)
    growing = grow(made(kept))

    def add(some: Sequence[Named]) -> None:
        """Add compatible objects: all at once if possible, otherwise each half separately."""
        names: dict[str, list[str]] = {}
        for section, name in some:
            names.setdefault(section, []).append(name)
        faults = growing.faults(made([*kept, *some]), names)
        if not faults:
            kept.extend(some)
        elif len(some) == 1:
            (section, name), fault = some[0], faults[0]
            aside.append(SetAside(section, name, f"{'.'.join(map(str, fault.path))}: {fault.message}"))
        else:
            add(some[: len(some) // 2])
            add(some[len(some) // 2 :])

    add(left)
    return made(kept), aside


def _named(fault: Fault) -> Named:
    section, name = (*map(str, fault.path[:2]), "", "")[:2]
    return section, name
