"""Flow programs in the kernel: bpf/programs.h. The filter calls them; each is loaded behind a wrapper.

Programs may come from a process of another user: they are validated here, and the verifier checks them behind the
wrapper, which passes only copies to them.
"""

import os
import platform
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import msgspec

from spectrum.core.ddos.served import ANY_PORT
from spectrum.core.flow_programs.elf import FUNCTION, PLAIN, WITH_STATE, ElfObject, FlowCode, link
from spectrum.core.flow_programs.instructions import INSTRUCTION, ProgramError, check_instructions
from spectrum.core.flow_programs.places import IN_USE, LOG, PROGRAM_BITS, JudgedPlace
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.names import (
    FIRST_FLOW,
    FLOW_RESULTS,
    MAX_PROGRAMS,
    NAME_BYTES,
    packed_name,
    unpacked_name,
)
from spectrum.kernel.libbpf import BpfError, Shape, VerifierRefused, create_table, load_xdp
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, PROCESSORS, PinError, Pinned, explained, prefix_key, program_code

WRAPPER = "flow_program"
# Asked of the helper in place of a result for the cost of programs.
COSTS = "flow_programs"
# Limit of instructions that the verifier follows for one packet: about 20 us, without cache misses.
MAX_STEPS = 65_536
MAX_JUDGED = 65_536
UDP = 17

_NUMBER = struct.Struct("=I")
_NAME_VALUE = struct.Struct("=I32s")
_KEY = struct.Struct("=IBBH16s")
_PLACE = struct.Struct("=II")
_PLACE_BYTES = _KEY.size + _PLACE.size
_FIXED_BITS = 32
_PORT_WORDS = 65536 // 64
_PORTS = struct.Struct(f"={_PORT_WORDS + 1}Q")
_COST = struct.Struct("=QQQ")
# struct judged of bpf/judging.h.
_JUDGED_BYTES = 592
_COUNT_BYTES = 16
FLOW_MAPS = {
    "programs": (_NUMBER.size, _NUMBER.size),
    "program_names": (NAME_BYTES, _NAME_VALUE.size),
    "judged_places": (_KEY.size, _PLACE.size),
    "judged_ports": (_NUMBER.size, _PORTS.size),
    "program_costs": (_NUMBER.size, _COST.size * PROCESSORS),
    "judging": (_NUMBER.size, _JUDGED_BYTES * PROCESSORS),
}
# The per-source state of programs, as in bpf/flow_program.bpf.c: BPF_MAP_TYPE_LRU_HASH, of 65,536 sources.
_STATES = Shape(9, 8, 16, 65_536, 0)
# BPF_PSEUDO_MAP_FD of linux/bpf.h.
_MAP_DESCRIPTOR = 1
# The version of Linux on arm64 from which functions of a program may tail-call (commit d4609a5d8c70).
_ARM_SINCE = (6, 0)


class FlowProgramCode(msgspec.Struct, array_like=True, frozen=True):
    """A program: its instructions, and whether it keeps state per source."""

    code: bytes
    has_state: bool

    def digest(self) -> bytes:
        """Return a digest of the program and its wrapper."""
        return sha256(program_code(WRAPPER) + bytes([self.has_state]) + self.code).digest()


class FlowPrograms(msgspec.Struct, array_like=True, frozen=True):
    """The programs of the filter.

    Attributes:
        programs: By name, in the order of their numbers in `places`.
        places: The addresses and ports that they judge, by `pack_places`.
    """

    programs: dict[str, FlowProgramCode] = {}
    places: bytes = b""

    def check(self) -> None:
        """Validate programs from another process.

        Raises:
            PinError: If they are invalid, or a program does more than compute.
        """
        if len(self.programs) > MAX_PROGRAMS:
            raise PinError(f"there are {MAX_PROGRAMS} flow programs at most")
        for name, one in self.programs.items():
            packed_name(name)
            try:
                check_instructions(one.code)
            except ProgramError as exc:
                raise PinError(_told(name, exc.at, str(exc))) from exc
        if len(self.places) % _PLACE_BYTES or len(self.places) > MAX_JUDGED * _PLACE_BYTES:
            raise PinError(f"{MAX_JUDGED} places at most where datagrams are judged, of {_PLACE_BYTES} bytes each")
        for key, value in _entries(self.places).items():
            how, _ = _PLACE.unpack(value)
            bits, protocol, version, _, address = _KEY.unpack(key)
            if protocol != UDP or version not in (4, 6) or not _FIXED_BITS <= bits <= _FIXED_BITS + 128:
                raise PinError("datagrams are judged at an IPv4 or IPv6 prefix")
            if int.from_bytes(address, "big") & ((1 << 128 + _FIXED_BITS - bits) - 1):
                raise PinError(f"{address.hex()}/{bits - _FIXED_BITS} is no prefix")
            if how & PROGRAM_BITS > len(self.programs) or how & ~(PROGRAM_BITS | LOG | IN_USE):
                raise PinError("a place of a program that there is not")


def code_of(code: FlowCode) -> FlowProgramCode:
    """Return a program in the form of the filter."""
    return FlowProgramCode(code.code, code.has_state)


def pack_places(places: Iterable[JudgedPlace]) -> bytes:
    """Return addresses and ports of judged datagrams in the form of the filter's table."""
    return b"".join(key + value for key, value in judged_entries(places).items())


def judged_entries(places: Iterable[JudgedPlace]) -> dict[bytes, bytes]:
    """Return the same as keys and values of the table."""
    entries = {}
    for one in places:
        bits, address = prefix_key(one.prefix)
        bits += _FIXED_BITS
        key = _KEY.pack(bits, UDP, one.prefix.version, one.port, address)
        entries[key] = _PLACE.pack(one.how, bits)
    return entries


def open_ports(entries: Mapping[bytes, bytes]) -> bytes:
    """Return a bitmap of the judged ports, from the table of places."""
    words, is_any = [0] * _PORT_WORDS, 0
    for key, value in entries.items():
        if _PLACE.unpack(value)[0] & PROGRAM_BITS:
            port = _KEY.unpack(key)[3]
            is_any |= port == ANY_PORT
            words[port >> 6] |= 1 << (port & 63)
    return _PORTS.pack(*([2**64 - 1] * _PORT_WORDS if is_any else words), is_any)


def _entries(packed: bytes) -> dict[bytes, bytes]:
    parts = (packed[start : start + _PLACE_BYTES] for start in range(0, len(packed), _PLACE_BYTES))
    return {part[: _KEY.size]: part[_KEY.size :] for part in parts}


def _told(name: str, at: int | None, why: str) -> str:
    return f"flow program {name}" + (f", instruction {at}" if at is not None and at >= 0 else "") + f": {why}"


_REFUSAL = re.compile(r"flow program (?P<name>[^ ,:]+)(?:, instruction (?P<at>\d+))?: (?P<why>.*)", re.DOTALL)


def refusal(message: str) -> tuple[str, int | None, str] | None:
    """Return the program of a `PinError`, the instruction, and the reason; None for other errors."""
    found = _REFUSAL.fullmatch(message)
    if found is None:
        return None
    return found["name"], int(found["at"]) if found["at"] else None, found["why"]


def can_call() -> bool:
    """Return whether the filter can call programs on this kernel: x86-64, and arm64 since Linux 6.0."""
    machine = platform.machine()
    if machine == "aarch64":
        return tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= _ARM_SINCE
    return machine == "x86_64"


def filter_constants() -> bytes:
    """Return the constants of the filter's object: `has_tail_calls`."""
    return _NUMBER.pack(can_call())


@lru_cache(maxsize=1)
def _wrapper() -> ElfObject:
    return ElfObject(program_code(WRAPPER))


def load_flow_program(name: str, code: FlowProgramCode, judging: int) -> int:
    """Load a program; return its descriptor, which the caller owns.

    Args:
        name: Its name.
        code: The program.
        judging: A descriptor of the filter's map of that name.

    Raises:
        PinError: If the kernel refuses it.
    """
    wrapper = _wrapper()
    section = wrapper.number(WITH_STATE if code.has_state else PLAIN)
    assert section is not None, "it is part of the package"
    own = wrapper.sections[section].data
    with ExitStack() as opened:
        try:
            maps = {"judging": judging}
            if code.has_state:
                maps["states"] = create_table("flow_states", _STATES)
                opened.callback(os.close, maps["states"])
            refers = list(wrapper.relocations(section))
            calls = [at for at, symbol in refers if symbol.name == FUNCTION]
            wide = {at: maps[symbol.name] for at, symbol in refers if symbol.name in maps}
            return load_xdp("flow_program", link(own, calls, code.code, wide, _MAP_DESCRIPTOR), MAX_STEPS)
        except VerifierRefused as exc:
            at = exc.at - len(own) // INSTRUCTION.size
            raise PinError(_told(name, at, f"the kernel does not take it: {exc}")) from exc
        except BpfError as exc:
            raise PinError(_told(name, None, explained(exc))) from exc


class PinnedFlowPrograms(Pinned):
    """The flow programs of this network namespace.

    Args:
        filesystem: A BPF file system.

    Raises:
        PinError: If the filter is not loaded.
    """

    def __init__(self, filesystem: Path = DEFAULT_FILESYSTEM) -> None:
        maps = {**FLOW_MAPS, "counts": (_NUMBER.size, _COUNT_BYTES * PROCESSORS)}
        super().__init__(PROGRAM, maps, filesystem)

    def _names(self) -> dict[str, tuple[int, bytes]]:
        """Return the number and the digest of each program, by name; of one that is not there, none.

        Names outlive programs where those of a version before could not be taken over.
        """
        named = {unpacked_name(key): _NAME_VALUE.unpack(value) for key, value in self.maps["program_names"].items()}
        return {
            name: (number, digest if self.maps["programs"].get(_NUMBER.pack(number)) else b"")
            for name, (number, digest) in named.items()
        }

    def hold(self, wanted: FlowPrograms) -> None:
        """Replace programs that differ; the state of unchanged ones is kept.

        Raises:
            PinError: If the kernel refuses one; then all are unchanged.
        """
        if wanted.programs and not can_call():
            raise PinError(
                f"flow programs cannot run on this kernel: on {platform.machine()} it takes Linux 6.0"
                if platform.machine() == "aarch64"
                else f"flow programs cannot run on {platform.machine()}: on x86_64 and aarch64 only"
            )
        with self.locked(), ExitStack() as opened:
            known = self._names()
            loaded: dict[str, int] = {}
            for name, one in wanted.programs.items():
                if name not in known or known[name][1] != one.digest():
                    loaded[name] = load_flow_program(name, one, self.maps["judging"].descriptor)
                    opened.callback(os.close, loaded[name])
            gone = known.keys() - wanted.programs.keys()
            self._place({}, {number + 1 for name, (number, _) in known.items() if name in gone})
            for name in gone:
                self.maps["programs"].delete(_NUMBER.pack(known[name][0]))
                self.maps["program_names"].delete(packed_name(name))
            numbers = {name: number for name, (number, _) in known.items() if name not in gone}
            free = iter(sorted(set(range(MAX_PROGRAMS)) - set(numbers.values())))
            for name, descriptor in loaded.items():
                if name not in numbers:
                    numbers[name] = next(free)
                    self._count_anew(numbers[name])
                self.set("programs", _NUMBER.pack(numbers[name]), _NUMBER.pack(descriptor))
                value = _NAME_VALUE.pack(numbers[name], wanted.programs[name].digest())
                self.set("program_names", packed_name(name), value)
            self._place(_numbered(wanted, numbers))

    def _count_anew(self, number: int) -> None:
        self.set("program_costs", _NUMBER.pack(number), bytes(FLOW_MAPS["program_costs"][1]))
        for result in range(len(FLOW_RESULTS)):
            place = FIRST_FLOW + result * MAX_PROGRAMS + number
            self.set("counts", _NUMBER.pack(place), bytes(_COUNT_BYTES * PROCESSORS))

    def _place(self, wanted: Mapping[bytes, bytes], only: set[int] | None = None) -> None:
        """Replace the judged places; new ones are added before others are removed.

        Args:
            wanted: Keys and values of the table.
            only: Remove only places of these programs, by the number in `PROGRAM_BITS`; None for all unwanted ones.
        """
        present = dict(self.maps["judged_places"].items())
        self.set_many("judged_places", {key: one for key, one in wanted.items() if present.get(key) != one})
        if only is None:
            self.set("judged_ports", _NUMBER.pack(0), open_ports(wanted))
        for key, value in present.items():
            if key not in wanted and (only is None or _PLACE.unpack(value)[0] & PROGRAM_BITS in only):
                self.maps["judged_places"].delete(key)

    def costs(self) -> dict[str, tuple[int, int]]:
        """Return the number of measured judgements of each program, and their time in ns."""
        found = {}
        for name, (number, _) in self._names().items():
            parts = list(_COST.iter_unpack(self.maps["program_costs"].get(_NUMBER.pack(number)) or b""))
            found[name] = sum(part[1] for part in parts), sum(part[2] for part in parts)
        return found


def _numbered(wanted: FlowPrograms, numbers: Mapping[str, int]) -> dict[bytes, bytes]:
    """Return places with the kernel's numbers of their programs."""
    own = [0, *(numbers[name] + 1 for name in wanted.programs)]
    entries = {}
    for key, value in _entries(wanted.places).items():
        how, bits = _PLACE.unpack(value)
        entries[key] = _PLACE.pack(how & ~PROGRAM_BITS | own[how & PROGRAM_BITS], bits)
    return entries


def program_places(names: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, int]]:
    """Yield the index of the counters of each program, by entries of `program_names`."""
    for key, value in names:
        number = _NAME_VALUE.unpack(value)[0]
        for rank, result in enumerate(FLOW_RESULTS):
            yield f"{result} {unpacked_name(key)}", FIRST_FLOW + rank * MAX_PROGRAMS + number
