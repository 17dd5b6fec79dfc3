"""Object files of clang for BPF (ELF-64), and the flow program in one."""

import struct
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from spectrum.core.flow_programs.instructions import (
    CALL,
    CALLS_FUNCTION,
    INSTRUCTION,
    ProgramError,
    check_instructions,
)

MAX_OBJECT_BYTES = 4 * 2**20
# The operator's function, and the sections that it may be in: include/spectrum_flow.h.
HEADER = "spectrum_flow.h"
FUNCTION = "flow_judge"
PLAIN, WITH_STATE = "flow/plain", "flow/state"
_ORDER = "<" if sys.byteorder == "little" else ">"
_MAGIC = b"\x7fELF\x02" + (b"\x01" if sys.byteorder == "little" else b"\x02")
_BPF = 247  # EM_BPF
_HEADER = struct.Struct(f"{_ORDER}16sHHIQQQIHHHHHH")
_SECTION = struct.Struct(f"{_ORDER}IIQQQQIIQQ")
_SYMBOL = struct.Struct(f"{_ORDER}IBBHQQ")
_RELOCATION = struct.Struct(f"{_ORDER}QQ")
_SYMBOLS, _RELOCATIONS = 2, 9  # SHT_SYMTAB, SHT_REL
_EXECUTABLE = 4
_A_SECTION, _A_FUNCTION = 3, 2  # STT_SECTION, STT_FUNC
_UNDEFINED = 0
_MAGIC_OF_BTF = 0xEB9F
_BTF = struct.Struct(f"{_ORDER}HBBIIIII")
_BTF_EXT = struct.Struct(f"{_ORDER}HBBIIIII")
_LINES_OF_SECTION = struct.Struct(f"{_ORDER}II")
_LINE = struct.Struct(f"{_ORDER}IIII")


class ElfSection(NamedTuple):
    """A section: its name, type, flags, content, and further fields of its header."""

    name: str
    kind: int
    flags: int
    data: bytes
    link: int
    about: int


class ElfSymbol(NamedTuple):
    """A symbol: its name, kind, section, and position in it."""

    name: str
    kind: int
    section: int
    value: int


class ElfObject:
    """An object file.

    Args:
        data: Its content.

    Raises:
        ProgramError: If it is not an object file for BPF.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_OBJECT_BYTES:
            raise ProgramError(f"an object of more than {MAX_OBJECT_BYTES} bytes")
        if not data.startswith(_MAGIC):
            raise ProgramError("it is not an object file (ELF, 64 bits)")
        try:
            self.sections = list(_sections(data))
            self.symbols = list(self._symbols())
        except (struct.error, IndexError, UnicodeDecodeError) as exc:
            raise ProgramError(f"a broken object: {exc}") from exc

    def number(self, name: str) -> int | None:
        """Return the number of the section with a name; None if there is none, or it is empty."""
        return next((n for n, one in enumerate(self.sections) if one.name == name and one.data), None)

    def relocations(self, section: int) -> Iterator[tuple[int, ElfSymbol]]:
        """Yield which instructions of a section refer to which symbols."""
        for one in self.sections:
            if one.kind == _RELOCATIONS and one.about == section:
                for offset, about in _RELOCATION.iter_unpack(one.data):
                    yield offset // INSTRUCTION.size, self.symbols[about >> 32]

    def _symbols(self) -> Iterator[ElfSymbol]:
        for section in self.sections:
            if section.kind == _SYMBOLS:
                names = self.sections[section.link].data
                for name, info, _, at, value, _ in _SYMBOL.iter_unpack(section.data):
                    yield ElfSymbol(_name(names, name), info & 15, at, value)


def _sections(data: bytes) -> Iterator[ElfSection]:
    header = _HEADER.unpack_from(data)
    machine, start, count, names = header[2], header[6], header[12], header[13]
    if machine != _BPF:
        raise ProgramError("an object of another machine: compile with -target bpf")
    rows = [_SECTION.unpack_from(data, start + n * _SECTION.size) for n in range(count)]
    titles = data[rows[names][4] : rows[names][4] + rows[names][5]]
    for name, kind, flags, _, offset, size, link, about, _, _ in rows:
        yield ElfSection(_name(titles, name), kind, flags, data[offset : offset + size], link, about)


def _name(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode() if at < len(names) else ""


class SourceLine(NamedTuple):
    """The source line of an instruction and those that follow it."""

    instruction: int
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class FlowCode:
    """A flow program in the form for the kernel.

    Attributes:
        code: Its instructions, followed by those of its functions.
        has_state: Whether it keeps a state for each source.
        lines: Their source lines, in order; empty if the object has none.
    """

    code: bytes
    has_state: bool
    lines: tuple[SourceLine, ...] = ()

    def line_of(self, instruction: int) -> str:
        """Return the source line of an instruction, as FILE:LINE; empty if unknown."""
        before = [one for one in self.lines if one.instruction <= instruction]
        # Functions of the header are reported with the line that calls them.
        before = [one for one in before if not one.file.endswith(HEADER)] or before
        return f"{before[-1].file}:{before[-1].line}" if before else ""


def read_flow_code(data: bytes) -> FlowCode:
    """Return the flow program of an object.

    Raises:
        ProgramError: If there is none in it, or it does anything but compute; the message begins with FILE:LINE if
            known.
    """
    one = ElfObject(data)
    starts = [number for name in (PLAIN, WITH_STATE) if (number := one.number(name)) is not None]
    if len(starts) != 1 or not any(
        (symbol.name, symbol.section, symbol.value) == (FUNCTION, starts[0], 0) for symbol in one.symbols
    ):
        raise ProgramError("it has no flow program: one FLOW_PROGRAM or FLOW_PROGRAM_WITH_STATE of spectrum_flow.h")
    text = one.number(".text")
    numbers = [starts[0], *([text] if text is not None else [])]
    for number, section in enumerate(one.sections):
        if section.flags & _EXECUTABLE and section.data and number not in numbers:
            raise ProgramError(f"a function in section {section.name}: there is one program in an object")
    begins: dict[int, int] = {}
    for number in numbers:
        begins[number] = sum(len(one.sections[n].data) for n in begins) // INSTRUCTION.size
    lines = tuple(_lines(one, begins))
    code = bytearray(b"".join(one.sections[number].data for number in numbers))
    found = FlowCode(bytes(code), one.sections[starts[0]].name == WITH_STATE, lines)
    try:
        for number in numbers:
            for at, symbol in one.relocations(number):
                _relocate(one, code, begins, begins[number] + at, symbol)
        check_instructions(bytes(code))
    except ProgramError as exc:
        where = found.line_of(exc.at) if exc.at is not None else ""
        raise ProgramError(f"{where}: {exc}" if where else str(exc), exc.at) from exc
    return FlowCode(bytes(code), found.has_state, lines)


def _relocate(one: ElfObject, code: bytearray, begins: dict[int, int], at: int, symbol: ElfSymbol) -> None:
    """Set the target of a call."""
    operation, registers, offset, number = INSTRUCTION.unpack_from(code, at * INSTRUCTION.size)
    if symbol.section == _UNDEFINED:
        raise ProgramError(f"there is no {symbol.name}: a program may use what is in its file and spectrum_flow.h", at)
    if operation != CALL or symbol.section not in begins:
        raise ProgramError(f"it uses {_told(one, symbol)}", at)
    target = begins[symbol.section] + symbol.value // INSTRUCTION.size
    if symbol.kind == _A_SECTION:  # The instruction says where in it.
        target += number + 1
    INSTRUCTION.pack_into(
        code, at * INSTRUCTION.size, operation, registers & 15 | CALLS_FUNCTION << 4, offset, target - at - 1
    )


def _told(one: ElfObject, symbol: ElfSymbol) -> str:
    section = one.sections[symbol.section].name if symbol.section < len(one.sections) else ""
    name = "" if symbol.kind == _A_SECTION else f" {symbol.name}"
    if section.startswith((".maps", "maps")):
        return f"the map{name}; a state is FLOW_PROGRAM_WITH_STATE"
    if section.startswith(".rodata"):
        return f"constant data{name}: a text or an array; write it as numbers, and compare by flow_u64 and the like"
    return f"the global variable{name}; a state is FLOW_PROGRAM_WITH_STATE"


def _lines(one: ElfObject, begins: dict[int, int]) -> Iterator[SourceLine]:
    """Yield the source lines of instructions: sections .BTF and .BTF.ext (kernel.org, "BPF Type Format")."""
    texts, more = one.number(".BTF"), one.number(".BTF.ext")
    if texts is None or more is None:
        return
    try:
        names = _texts(one.sections[texts].data)
        found = sorted(_told_lines(one, one.sections[more].data, names, begins))
    except (struct.error, ValueError):
        return
    yield from found


def _texts(data: bytes) -> bytes:
    magic, _, _, header, _, _, at, size = _BTF.unpack_from(data)
    if magic != _MAGIC_OF_BTF:
        raise ValueError("no BTF")
    return data[header + at : header + at + size]


def _told_lines(one: ElfObject, data: bytes, names: bytes, begins: dict[int, int]) -> Iterator[SourceLine]:
    magic, _, _, header, _, _, at, size = _BTF_EXT.unpack_from(data)
    if magic != _MAGIC_OF_BTF or size < 4:
        raise ValueError("no lines")
    at += header
    end, at = at + size, at + 4
    while at < end:
        section, count = _LINES_OF_SECTION.unpack_from(data, at)
        at += _LINES_OF_SECTION.size
        number = one.number(_name(names, section))
        for _ in range(count):
            offset, file, _, line = _LINE.unpack_from(data, at)
            at += _LINE.size
            if number in begins:
                yield SourceLine(begins[number] + offset // INSTRUCTION.size, _name(names, file), line >> 10)


def link(code: bytes, calls: Iterable[int], behind: bytes, wide: Mapping[int, int], kind: int) -> bytes:
    """Return the instructions of a wrapper with a program behind them.

    Args:
        code: The wrapper's instructions.
        calls: The instructions that call the program.
        behind: The program's.
        wide: The descriptors of maps, by the wrapper's instruction that loads them.
        kind: The kernel's type of these numbers.
    """
    linked = bytearray(code + behind)
    for at, number in wide.items():
        operation, registers, offset, _ = INSTRUCTION.unpack_from(linked, at * INSTRUCTION.size)
        INSTRUCTION.pack_into(linked, at * INSTRUCTION.size, operation, registers & 15 | kind << 4, offset, number)
    for at in calls:
        distance = len(code) // INSTRUCTION.size - at - 1
        INSTRUCTION.pack_into(linked, at * INSTRUCTION.size, CALL, CALLS_FUNCTION << 4, 0, distance)
    return bytes(linked)
