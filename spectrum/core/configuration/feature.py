"""What a feature has in the configuration file: it registers that once, in `core/features.py`.

Its keys are classes that `Config` and `App` inherit from. What it does in a daemon its actor does:
`control/features.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.fields import Strict

if TYPE_CHECKING:
    from spectrum.core.configuration.checks import ListenerIndex
    from spectrum.core.configuration.config import App, Config


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of named objects at the top of the file.

    Attributes:
        key: Of the mapping.
        kind: What one object is called.
        model: Of one object.
    """

    key: str
    kind: str
    model: type[Strict]

    @property
    def one(self) -> str:
        """One object, with its article."""
        return f"{'an' if self.kind[0] in 'aeio' else 'a'} {self.kind}"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What checks need beside the objects that are well-formed by themselves.

    Attributes:
        names: Of each section all names that stand there, so that a malformed object is not also missing.
        index: Which app listens where.
    """

    names: Mapping[str, list[str]]
    index: "ListenerIndex"


# Where a setting stands in an app, and what is wrong with it.
Misfit = tuple[tuple[str, ...], str]


def _no_faults(config: "Config", surroundings: Surroundings) -> Iterable[Fault]:
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
        fixed: Paths of its settings that take a restart to change.
        check: Returns what does not fit between its objects and the rest of the file. Where only apps differ, it may be
            given these and those that `Neighbours` finds.
        misfits: Returns what does not fit within an app.
        compile: Returns its fields of `Snapshot`, given the numbers of origins.
        compile_app: Returns its fields of `AppSettings`.
    """

    name: str
    sections: tuple[Section, ...] = ()
    fixed: tuple[str, ...] = ()
    check: Callable[["Config", Surroundings], Iterable[Fault]] = _no_faults
    misfits: Callable[["App"], Iterable[Misfit]] = _no_misfits
    compile: Callable[["Config", Mapping[str, int]], Mapping[str, Any]] = _nothing
    compile_app: Callable[["App"], Mapping[str, Any]] = _nothing_of_app
