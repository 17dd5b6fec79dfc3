"""Run a flow program on datagrams, in a separate filter that is neither attached nor pinned.

A running daemon is not affected. All runs are on one CPU, as the facts of the datagram are in per-CPU memory.
"""

import os
import struct
from ipaddress import IPv4Address, IPv6Address, ip_network
from types import TracebackType
from typing import NamedTuple, Self

from spectrum.core.ddos.served import ANY_PORT
from spectrum.core.flow_programs.places import JudgedPlace
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.detection import DETECTION_MAPS, SMALL_TABLES
from spectrum.kernel.filter.flow_programs import (
    FLOW_MAPS,
    FlowProgramCode,
    FlowPrograms,
    can_call,
    filter_constants,
    judged_entries,
    load_flow_program,
    open_ports,
)
from spectrum.kernel.filter.tcp_protection import SMALL_TCP_TABLES
from spectrum.kernel.libbpf import BpfError, Object, run_xdp
from spectrum.kernel.pins import PROCESSORS, PinError, explained, program_code

_FIRST = bytes(4)
_VERDICTS = ("pass", "drop", "challenge")
_XDP_DROP = 1
_DETECTION = struct.Struct("=IIII")
_COST = struct.Struct("=QQQ")
# Fields of struct judged: the verdict, the source, and the length of the payload.
_TOLD = struct.Struct("=12xI8x16s20xH")
_MAPPED = bytes(10) + b"\xff\xff"
# Repetitions per measurement: a run takes some 100 ns, so all take 0.2 ms.
_REPEATED = 2_000
_EVERYWHERE = tuple(map(ip_network, ("0.0.0.0/0", "::/0")))


class TrialResult(NamedTuple):
    """The result for a datagram.

    Attributes:
        verdict: The program's: "pass", "drop", "challenge"; empty if the frame is not a datagram that it judges.
        is_dropped: Whether it would be dropped; for "challenge" only if it came for the first time.
        source: Its source address.
        length: The length of its payload, in bytes.
        ns: The time of a judgement, with copy of the payload and lookup of the state; 0 if not measured.
    """

    verdict: str
    is_dropped: bool
    source: str = ""
    length: int = 0
    ns: int = 0


class ProgramTrial:
    """A program in a separate filter; a context manager.

    Args:
        code: The program.
        port: The judged destination port; `ANY_PORT` for all.

    Raises:
        PinError: If the kernel refuses it, or this process lacks the privilege.
    """

    def __init__(self, code: FlowProgramCode, port: int = ANY_PORT) -> None:
        if not can_call():
            raise PinError("this kernel cannot run flow programs: docs/flow-programs.md")
        FlowPrograms({"program": code}).check()
        small = SMALL_TABLES | SMALL_TCP_TABLES
        try:
            self._filter = Object(program_code(PROGRAM), {}, small, filter_constants())
        except BpfError as exc:
            raise PinError(explained(exc)) from exc
        self._loaded: list[int] = []
        try:
            tables = {name: self._filter.table(name, *sizes) for name, sizes in (FLOW_MAPS | DETECTION_MAPS).items()}
            self._judging, self._costs = tables["judging"], tables["program_costs"]
            # One with the state of tried datagrams, and one for measurements.
            for _ in range(2):
                self._loaded.append(load_flow_program("program", code, self._judging.descriptor))
            tables["programs"].set(_FIRST, self._loaded[0].to_bytes(4, "little"))
            tables["detection"].set(_FIRST, _DETECTION.pack(1, 0, 0, 0))
            places = judged_entries([JudgedPlace(prefix, port, 1) for prefix in _EVERYWHERE])
            for key, value in places.items():
                tables["judged_places"].set(key, value)
            tables["judged_ports"].set(_FIRST, open_ports(places))
        except BaseException:
            self.close()
            raise
        self._cpus = os.sched_getaffinity(0)

    def __enter__(self) -> Self:
        os.sched_setaffinity(0, {min(self._cpus)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.sched_setaffinity(0, self._cpus)
        self.close()

    def close(self) -> None:
        """Free the program and its filter."""
        for descriptor in self._loaded:
            os.close(descriptor)
        self._loaded.clear()
        self._filter.close()

    def __call__(self, frame: bytes, is_measured: bool = True) -> TrialResult:
        """Return the result for a frame; it takes some 20 ms, twice that with a measurement.

        Raises:
            PinError: If the kernel does not run it.
        """
        try:
            before = self._judged()
            result, _ = run_xdp(self._filter.program("filter"), frame)
            if self._judged() == before:
                return TrialResult("", result == _XDP_DROP)
            said, source, length = self._told()
            ns = run_xdp(self._loaded[1], frame, _REPEATED)[1] if is_measured else 0
        except BpfError as exc:
            raise PinError(str(exc)) from exc
        address = IPv4Address(source[12:]) if source.startswith(_MAPPED) else IPv6Address(source)
        verdict = _VERDICTS[said] if said < len(_VERDICTS) else "pass"
        return TrialResult(verdict, result == _XDP_DROP, str(address), length, ns)

    def _judged(self) -> int:
        return sum(one[0] for one in _COST.iter_unpack(self._costs.get(_FIRST) or b""))

    def _told(self) -> tuple[int, bytes, int]:
        """Return the verdict on the last datagram, its source and its length."""
        values = self._judging.get(_FIRST) or b""
        said, source, length = _TOLD.unpack_from(values, min(self._cpus) * (len(values) // PROCESSORS))
        return said, source, length
