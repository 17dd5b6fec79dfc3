"""A file and those that it includes, joined: `include: [teams/*.yaml]` at the top level of any of them."""

import glob
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.control.configuration.diagnostics import ConfigError, Diagnostic
from spectrum.control.configuration.references import resolve
from spectrum.control.configuration.texts import read_text
from spectrum.control.configuration.yaml_marks import Document
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.faults import Path as FaultPath
from spectrum.core.configuration.fields import describe
from spectrum.core.features import SECTIONS

KEY = "include"
# The prefix of keys at the top level for anchors and tools, as in Compose files.
OWN_KEYS = "x-"
_KINDS = {section.key: section.kind for section in SECTIONS}
# Called with the files that are about to be read.
Reading = Callable[[Iterable[Path]], None]


@dataclass(frozen=True, slots=True, eq=False)
class IncludedFile:
    """One of the files; patterns of its `include` are relative to `folder`."""

    name: str
    document: Document
    folder: Path

    def diagnostic(self, fault: Fault) -> Diagnostic:
        """Return a fault with its place in this file."""
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault.path).lstrip(".")
        return Diagnostic(self.name, self.document.place(fault.path, fault.at_key), path, fault.message)


class IncludedFiles:
    """A file and those that it includes, read.

    Args:
        name: What diagnostics call the file.
        text: Its text.
        folder: Where it is.
        reading: Called with what it includes, and with the folders of its patterns, before they are looked at.

    Attributes:
        value: Their joined content.
        diagnostics: Faults of each file, and conflicts between them.
        is_whole: Whether all of them could be read. Otherwise missing objects cannot be reported.
        files: Those that are included, and the folders in which others would be.
    """

    def __init__(self, name: str, text: str, folder: Path, reading: Reading) -> None:
        self.value: Any = None
        self.diagnostics: list[Diagnostic] = []
        self.is_whole = True
        self.files: list[Path] = []
        self._reading = reading
        self._parts: list[IncludedFile] = []
        self._owners: dict[FaultPath, IncludedFile] = {}
        self._seen: set[Path] = set()
        root = self._part(name, text, folder)
        if isinstance(root.document.value, dict):
            self.value = {}
            self._add(root, (Path(name).resolve(),))
        else:
            self.value = root.document.value

    @property
    def is_single(self) -> bool:
        """Whether nothing is or can be included."""
        return not self.files and len(self._parts) == 1

    @property
    def document(self) -> Document:
        """The first file's."""
        return self._parts[0].document

    def apps(self) -> list[tuple[str, int]]:
        """Return the number of apps in each file."""
        owners = [part for path, part in self._owners.items() if len(path) == 2 and path[0] == "apps"]
        return [(part.name, owners.count(part)) for part in self._parts]

    def told(self, faults: Iterable[Fault]) -> list[Diagnostic]:
        """Return all diagnostics, those given included, in the order of files and lines."""
        found = self.diagnostics + [self._owner(fault.path).diagnostic(fault) for fault in faults]
        order = {part.name: index for index, part in enumerate(self._parts)}
        return sorted(found, key=lambda one: (order.get(one.file, len(order)), one.place))

    def _owner(self, path: FaultPath) -> IncludedFile:
        return self._owners.get(path[:2]) or self._owners.get(path[:1]) or self._parts[0]

    def _part(self, name: str, text: str, folder: Path) -> IncludedFile:
        part = IncludedFile(name, Document(text), folder)
        self._parts.append(part)
        self.is_whole &= part.document.value is not None or not part.document.faults
        self.diagnostics += [Diagnostic(name, fault.place, "", fault.message) for fault in part.document.faults]
        return part

    def _add(self, part: IncludedFile, within: tuple[Path, ...]) -> None:
        for key, item in part.document.value.items():
            if key != KEY and not key.startswith(OWN_KEYS):
                self._add_key(part, key, item)
        if KEY in part.document.value:
            self._include(part, part.document.value[KEY], within)

    def _add_key(self, part: IncludedFile, key: str, item: Any) -> None:
        is_section = key in _KINDS and isinstance(item, dict)
        if key not in self.value:
            self.value[key] = {} if is_section else item
            self._owners[key,] = part
        elif not is_section or not isinstance(self.value[key], dict):
            self._twice(part, (key,), f'"{key}"')
            return
        for name, body in item.items() if is_section else ():
            if name in self.value[key]:
                self._twice(part, (key, name), f"{_KINDS[key]} {name}")
                continue
            self.value[key][name] = body
            self._owners[key, name] = part

    def _twice(self, part: IncludedFile, path: FaultPath, what: str) -> None:
        other = self._owners[path]
        place = other.document.place(path, at_key=True)
        message = f"{what} also stands in {other.name}:{place.line}:{place.column}"
        self.diagnostics.append(part.diagnostic(Fault(path, message, at_key=True)))

    def _include(self, part: IncludedFile, given: Any, within: tuple[Path, ...]) -> None:
        resolved = resolve({KEY: given})
        self.diagnostics += map(part.diagnostic, resolved.faults)
        patterns = resolved.value[KEY]
        if isinstance(patterns, str):
            patterns = [patterns]
        if not isinstance(patterns, list):
            fault = Fault((KEY,), f"expected a list of files such as teams/*.yaml, found {describe(patterns)}")
            self.diagnostics.append(part.diagnostic(fault))
            return
        for index, pattern in enumerate(patterns):
            place: FaultPath = (KEY, index) if isinstance(resolved.value[KEY], list) else (KEY,)
            if any(fault.path == place for fault in resolved.faults):
                continue
            if not isinstance(pattern, str) or not pattern or "\0" in pattern:
                fault = Fault(place, f"expected a file or a pattern such as teams/*.yaml, found {describe(pattern)}")
                self.diagnostics.append(part.diagnostic(fault))
                continue
            for path in self._matching(part, place, pattern):
                self._read(part, place, path, within)

    def _matching(self, part: IncludedFile, place: FaultPath, pattern: str) -> list[Path]:
        """Return the files that match a pattern; note the folders in which others may appear."""
        whole = part.folder / pattern
        if not glob.has_magic(pattern):
            if not whole.exists():
                self.is_whole = False
                self.diagnostics.append(part.diagnostic(Fault(place, f"{whole}: no such file or directory")))
                self._note([whole])
            return [whole] if whole.exists() else []
        steps = Path(pattern).parts
        first = next(index for index, step in enumerate(steps) if glob.has_magic(step))
        folders = [part.folder.joinpath(*steps[:first])]
        for end in range(first + 1, len(steps)):
            folders += [path for path in _glob(part.folder, steps[:end]) if path.is_dir()]
        self._note(list(dict.fromkeys(folders)))
        return [path for path in _glob(part.folder, steps) if not path.is_dir()]

    def _note(self, paths: list[Path]) -> None:
        self.files += paths
        self._reading(paths)

    def _read(self, part: IncludedFile, place: FaultPath, path: Path, within: tuple[Path, ...]) -> None:
        real = path.resolve()
        if real in within:
            self.diagnostics.append(part.diagnostic(Fault(place, f"{path} includes itself")))
            return
        if real in self._seen:
            return
        self._seen.add(real)
        self._note([path])
        try:
            text = read_text(path)
        except ConfigError as exc:
            self.diagnostics += exc.diagnostics
            self.is_whole = False
            return
        found = self._part(str(path), text, path.parent)
        if isinstance(found.document.value, dict):
            self._add(found, (*within, real))
        elif found.document.value is not None:
            fault = Fault((), f"expected a mapping, found {describe(found.document.value)}")
            self.diagnostics.append(found.diagnostic(fault))


def _glob(folder: Path, steps: Iterable[str]) -> list[Path]:
    return [folder / found for found in sorted(glob.glob("/".join(steps), root_dir=folder, recursive=True))]
