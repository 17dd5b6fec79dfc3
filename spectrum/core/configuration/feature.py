"""A feature's part of the configuration file, registered once in `core/features.py`. Its keys are classes that `Config`
and `App` inherit from. Its part of a daemon is its actor: `control/features.py`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.fields import Strict

if TYPE_CHECKING:
    from spectrum.core.configuration.checks import ListenerIndex
    from spectrum.core.configuration.config import App, Config


# The section of an object, and its name.
Named = tuple[str, str]
# Names of objects by section.
Names = Mapping[str, Collection[str]]


def _refers_to_nothing(one: Any) -> Iterable[Named]:
    return ()


def _shows_nothing(one: Any) -> object:
    return None


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of named objects at the top of the file.

    Attributes:
        key: The key of the mapping.
        kind: The name of one object.
        model: The model of one object.
        refers_to: Returns the objects that an object names.
        shows: Returns the part of an object that referring objects depend on, beside its existence: if it is unchanged,
            they are not checked again.
        passes_on: Objects that refer to an object also depend on what that refers to.
    """

    key: str
    kind: str
    model: type[Strict]
    refers_to: Callable[[Any], Iterable[Named]] = _refers_to_nothing
    shows: Callable[[Any], object] = _shows_nothing
    passes_on: bool = False

    def named_by(self, one: Any) -> Iterator[Named]:
        """Yield the objects that an object refers to, including its account and zone."""
        yield from self.refers_to(one)
        for key, section in (("account", "accounts"), ("zone", "zones")):
            if (name := getattr(one, key, None)) is not None:
                yield section, name

    def shown_by(self, one: Any) -> object:
        """Return the part of an object that referring objects depend on, including its account and zone."""
        return self.shows(one), getattr(one, "account", None), getattr(one, "zone", None)

    @property
    def one(self) -> str:
        """The name of one object, with its article."""
        return f"{'an' if self.kind[0] in 'aeio' else 'a'} {self.kind}"


@dataclass(frozen=True, slots=True)
class CheckContext:
    """The context of checks, beside the objects that are checked.

    Attributes:
        names: All names of each section, so that a malformed object is not also reported as missing.
        index: The listeners of the checked apps.
        whole: All well-formed objects, the checked ones included.
    """

    names: Names
    index: "ListenerIndex"
    whole: "Config"


# The path of a setting in an app, and its fault.
Misfit = tuple[tuple[str, ...], str]


def _no_faults(config: "Config", surroundings: CheckContext) -> Iterable[Fault]:
    return ()


def _draws_nothing_in(before: "Config", after: "Config", changed: Names) -> Iterable[Named]:
    return ()


def _nothing_idle(config: "Config") -> Iterable[str]:
    return ()


def _no_misfits(app: "App") -> Iterable[Misfit]:
    return ()


def _nothing_of_app(app: "App") -> Mapping[str, Any]:
    return {}


def _nothing(config: "Config", numbers: Mapping[str, int]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Feature:
    """What a feature has in the file.

    Attributes:
        name: Its name.
        sections: Its named objects.
        fixed: Paths of its settings that require a restart to change.
        check: Returns what does not fit between its objects and the rest of the file. It may be given only some of the
            objects: those that changed, and those that have to do with them (`Fitting`).
        draws_in: Returns what else has to be checked where objects changed: beyond those, what depends on them by
            reference, and what `Neighbours` finds.
        idle: Returns what stands in the file and does nothing, in words: no fault, but hardly meant.
        misfits: Returns what does not fit within an app.
        compile: Returns its fields of `Snapshot`, given the numbers of origins.
        compile_app: Returns its fields of `AppSettings`.
    """

    name: str
    sections: tuple[Section, ...] = ()
    fixed: tuple[str, ...] = ()
    check: Callable[["Config", CheckContext], Iterable[Fault]] = _no_faults
    draws_in: Callable[["Config", "Config", Names], Iterable[Named]] = _draws_nothing_in
    idle: Callable[["Config"], Iterable[str]] = _nothing_idle
    misfits: Callable[["App"], Iterable[Misfit]] = _no_misfits
    compile: Callable[["Config", Mapping[str, int]], Mapping[str, Any]] = _nothing
    compile_app: Callable[["App"], Mapping[str, Any]] = _nothing_of_app
