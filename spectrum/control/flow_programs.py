"""Flow programs of this node: they are compiled and checked here, and the filter in the kernel gets them."""

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.control.configuration.actor import Actor, Change, Plan, RolloutError
from spectrum.control.filter.node import NodeFilter
from spectrum.control.http.resource import Asked, Resource
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.ddos.served import ServedError
from spectrum.core.flow_programs.elf import FlowCode, read_flow_code
from spectrum.core.flow_programs.instructions import ProgramError
from spectrum.core.flow_programs.objects import FlowProgram
from spectrum.core.flow_programs.places import judged_places
from spectrum.kernel.compiling import CompileError, compile_flow_program
from spectrum.kernel.filter.flow_programs import FlowPrograms, code_of, pack_places, refusal
from spectrum.kernel.filter.names import FLOW_RESULTS
from spectrum.kernel.pins import PinError
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)

_KEYS = frozenset({"flow_programs", "apps"})
# The metric's values.
_MODES = ("disabled", "log", "enabled")
# Programs that were compiled are remembered: a reload compiles what has changed.
_REMEMBERED = 64
_INCLUDES_FILES = b'#include "'


def read_program(path: Path, is_source: bool) -> FlowCode:
    """Return the program in a file, in C or as an object. It may take a tenth of a second, in which it blocks.

    Raises:
        ProgramError: If it is none; the message has FILE:LINE, or the file, and what is wrong.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ProgramError(f"{path}: cannot be read: {(exc.strerror or str(exc)).lower()}") from exc
    if not is_source:
        return _of_object(data, path)
    return (_compiled.__wrapped__ if _INCLUDES_FILES in data else _compiled)(data, path)


@lru_cache(maxsize=_REMEMBERED)
def _compiled(source: bytes, path: Path) -> FlowCode:
    try:
        return _of_object(compile_flow_program(source, path), path)
    except CompileError as exc:
        raise ProgramError(str(exc)) from exc


def _of_object(data: bytes, path: Path) -> FlowCode:
    try:
        return read_flow_code(data)
    except ProgramError as exc:
        said = str(exc)
        raise ProgramError(said if said.startswith("/") else f"{path}: {said}") from exc


def flow_program_paths(config: Config) -> list[Path]:
    """Return the files that a configuration names for its flow programs."""
    return [Path(one.file) for one in config.flow_programs.values()]


def flow_program_faults(config: Config) -> list[Fault]:
    """Return what is wrong with them: what clang says, and what a program may not do. The verifier comes later."""
    faults = []
    for name, one in config.flow_programs.items():
        key = "source" if one.source else "object"
        try:
            read_program(Path(one.file), one.source is not None)
        except ProgramError as exc:
            faults += [Fault(("flow_programs", name, key), line) for line in str(exc).splitlines()]
    return faults


def _codes(config: Config) -> dict[str, FlowCode]:
    return {
        name: read_program(Path(one.file), one.source is not None)
        for name, one in config.flow_programs.items()
        if one.mode != "disabled"
    }


def told(exc: PinError, codes: Mapping[str, FlowCode], files: Mapping[str, str]) -> str:
    """Return what the kernel says of a program with the line that it is about, where that is known."""
    if (found := refusal(str(exc))) is None:
        return str(exc)
    name, at, why = found
    where = codes[name].line_of(at) if at is not None and name in codes else ""
    return f"flow program {name}: {where or files.get(name, '')}: {why}"


class FlowProgramsActor(Actor):
    """Flow programs as a configuration says. The filter's actor comes before it: it loads the filter.

    Args:
        node: The filter, which calls the programs.
        helper: Changes the kernel's tables.
        counts: What the filter counts.
        costs: What programs take.
    """

    def __init__(self, node: NodeFilter, helper: Helper, counts: KernelCounts, costs: KernelCounts) -> None:
        self._node = node
        self._helper = helper
        self._counts = counts
        self._costs = costs
        self._config = Config()
        # What the kernel has; None where that is not known, or there is no filter.
        self._held: FlowPrograms | None = None

    async def prepare(self, change: Change) -> None:
        """Give the kernel its programs.

        Raises:
            RolloutError: If it does not take one.
        """
        if change.names is not None and not _KEYS & change.names.keys():
            return
        await self._in_kernel(change.after.config)

    async def commit(self, change: Change) -> None:
        """Show what judges from now on."""
        self._config = change.after.config

    async def abort(self, change: Change) -> None:
        """Put the former programs back: the filter may have been loaded anew meanwhile."""
        self._config = change.before.config
        if not change.is_first:
            self._held = None
            await self._in_kernel(change.before.config)

    async def restore(self, plan: Plan) -> None:
        """Judge as it is served."""
        self._held = None
        await self._in_kernel(plan.config)

    async def _in_kernel(self, config: Config) -> None:
        try:
            await in_thread(self._hold, config)
        except (PinError, ProgramError, ServedError) as exc:
            raise RolloutError(f"flow programs: {exc}") from exc

    def _hold(self, config: Config) -> None:
        if config.filter is None:
            self._held = None  # the filter goes, with its programs
            return
        codes = _codes(config)
        wanted = FlowPrograms(
            {name: code_of(code) for name, code in codes.items()},
            pack_places(judged_places(config.flow_programs, config.apps)),
        )
        if wanted == self._held or (self._held is None and not wanted.programs and not self._helper.has_pins()):
            return
        try:
            self._node.set_flow_programs(wanted)
        except PinError as exc:
            files = {name: one.file for name, one in config.flow_programs.items()}
            raise PinError(told(exc, codes, files)) from exc
        self._held = wanted

    async def status(self) -> Mapping[str, Any]:
        """Return the programs, where there are any."""
        return {"flow_programs": await self._shown_all()} if self._config.flow_programs else {}

    async def metrics(self) -> Iterable[Metric]:
        """Return the mode of each program, and its cost. Its packets are among those of the filter."""
        programs = self._config.flow_programs
        if not programs:
            return ()
        modes = GaugeMetricFamily(
            "spectrum_flow_program_mode", "Of a flow program: 0 disabled, 1 log, 2 enabled", labels=["program"]
        )
        measured = CounterMetricFamily(
            "spectrum_flow_program_measured",
            "Datagrams whose judgement by a flow program was timed, one in 64",
            labels=["program"],
        )
        seconds = CounterMetricFamily(
            "spectrum_flow_program_seconds", "How long these judgements took in all", labels=["program"]
        )
        costs = await self._costs.read()
        for name, one in programs.items():
            modes.add_metric([name], _MODES.index(one.mode))
            count, ns = costs.get(name, (0, 0))
            measured.add_metric([name], count)
            seconds.add_metric([name], ns / 1e9)
        return modes, measured, seconds

    def resources(self) -> Iterable[Resource]:
        """GET /flow-programs."""
        return (Resource("GET", "/flow-programs", self._shown),)

    async def _shown(self, asked: Asked) -> dict[str, Any]:
        return {"programs": await self._shown_all()}

    async def _shown_all(self) -> dict[str, Any]:
        counts, costs = await self._counts.read(), await self._costs.read()
        return {
            name: _program(name, one, counts, costs.get(name, (0, 0)))
            for name, one in self._config.flow_programs.items()
        }


def _program(
    name: str, one: FlowProgram, counts: Mapping[str, tuple[int, int]], cost: tuple[int, int]
) -> dict[str, Any]:
    passed, monitored, dropped = (counts.get(f"{result} {name}", (0, 0))[0] for result in FLOW_RESULTS)
    measured, ns = cost
    return {
        "mode": one.mode,
        "file": one.file,
        "apps": list(one.apps),
        "in_use": one.in_use,
        "judged": passed + monitored + dropped,
        "passed": passed,
        "would_drop": monitored,
        "dropped": dropped,
        "ns_per_datagram": round(ns / measured) if measured else None,
    }
