"""Read flow programs: objects as they are, and sources by what they were compiled to, or are now.

What a source is compiled to depends on it, on the files that it includes, and on our flags and headers; with the same
of all of them it is compiled once.
"""

import logging
import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from spectrum.control.flow_programs.kept_objects import KeptObjectError, KeptObjects
from spectrum.control.paths import flow_objects_folder
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.flow_programs.elf import FlowCode, read_flow_code
from spectrum.core.flow_programs.includes import includes
from spectrum.core.flow_programs.instructions import ProgramError
from spectrum.kernel.compiling import MAX_SOURCE_BYTES, CompileError, compile_flow_program, compiler_digest

log = logging.getLogger(__name__)

# Programs that were read are remembered: a reload compiles what has changed.
_REMEMBERED = 64
# Of one source; one that includes more is compiled at each start.
MOST_INCLUDED = 64


class ReadProgram(NamedTuple):
    """A flow program as it was read.

    Attributes:
        path: Its file.
        code: The program.
        built: The object that it is in.
        is_compiled: Whether it was compiled here.
        address: By what it is kept; None for what is not.
    """

    path: Path
    code: FlowCode
    built: bytes
    is_compiled: bool = False
    address: str | None = None


@dataclass(frozen=True, slots=True)
class FlowSource:
    """A flow program in C.

    Attributes:
        path: Its file.
        text: Its content.
        included: The digest of the files that it includes; None where they are not known.
    """

    path: Path
    text: bytes
    included: bytes | None

    @property
    def address(self) -> str | None:
        """What tells it from all others; None where its content does not."""
        if self.included is None:
            return None
        return _digest(compiler_digest(), os.fsencode(self.path), self.text, self.included).hex()


def read_program(path: Path, is_source: bool, kept: KeptObjects | None = None) -> ReadProgram:
    """Return the program in a file, in C or as an object. It may take a tenth of a second, in which it blocks.

    Args:
        path: The file.
        is_source: Whether it is in C.
        kept: What was compiled before, where that is known.

    Raises:
        ProgramError: If it is none; the message has FILE:LINE, or the file, and what is wrong.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ProgramError(f"{path}: cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    if not is_source:
        return ReadProgram(path, _code(data, path), data)
    source = FlowSource(path, data, _included(path, data))
    return (_built if source.address is not None else _compiled)(source, kept)


@lru_cache(maxsize=_REMEMBERED)
def _built(source: FlowSource, kept: KeptObjects | None) -> ReadProgram:
    return _kept(source, kept) or _compiled(source, kept)


def _kept(source: FlowSource, kept: KeptObjects | None) -> ReadProgram | None:
    address = source.address
    assert address is not None, "else it is not kept"
    try:
        if kept is None or (built := kept.find(address)) is None:
            return None
        return _read_program(source, built)
    except (KeptObjectError, ProgramError) as exc:
        log.warning("%s is compiled again, as its stored object cannot be used: %s", source.path, exc)
        return None


def _compiled(source: FlowSource, kept: KeptObjects | None) -> ReadProgram:
    try:
        built = compile_flow_program(source.text, source.path)
    except CompileError as exc:
        raise ProgramError(str(exc)) from exc
    return _read_program(source, built)


def _read_program(source: FlowSource, built: bytes) -> ReadProgram:
    return ReadProgram(source.path, _code(built, source.path), built, True, source.address)


def _code(built: bytes, path: Path) -> FlowCode:
    try:
        return read_flow_code(built)
    except ProgramError as exc:
        said = str(exc)
        raise ProgramError(said if said.startswith("/") else f"{path}: {said}") from exc


def _included(path: Path, text: bytes) -> bytes | None:
    """Return a digest of all files that may be included, by a source or by one of them; None if not all are known."""
    known: dict[Path, bytes] = {}
    unread = [(path, text)]
    while unread:
        where, content = unread.pop()
        if (found := includes(content.decode("utf-8", "replace"))) is None:
            return None
        for name, is_quoted in found:
            for folder in {path.parent, where.parent} if is_quoted else {path.parent}:
                if (one := folder / name) not in known and (data := _content(one)) is not None:
                    known[one] = data
                    unread.append((one, data))
        if len(known) > MOST_INCLUDED:
            return None
    parts = ((os.fsencode(one), known[one]) for one in sorted(known))
    return _digest(*(part for pair in parts for part in pair))


def _content(path: Path) -> bytes | None:
    """Return what is in a file; None where there is none, or clang could not read it either."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_SOURCE_BYTES)
    except OSError:
        return None


def _digest(*parts: bytes) -> bytes:
    return sha256(b"".join(sha256(part).digest() for part in parts)).digest()


def flow_program_paths(config: Config) -> list[Path]:
    """Return the files that a configuration names for its flow programs."""
    return [Path(one.file) for one in config.flow_programs.values()]


def flow_program_faults(config: Config) -> list[Fault]:
    """Return what is wrong with them: what clang says, and what a program may not do. The verifier comes later."""
    if not config.flow_programs:
        return []
    kept, faults = KeptObjects(flow_objects_folder(config)), []
    for name, one in config.flow_programs.items():
        try:
            read_program(Path(one.file), one.source is not None, kept)
        except ProgramError as exc:
            key = "source" if one.source else "object"
            faults += [Fault(("flow_programs", name, key), line) for line in str(exc).splitlines()]
    return faults
