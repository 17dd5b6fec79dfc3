"""Flow programs of this node: they are read and checked here, and the filter in the kernel gets them."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.control.configuration.actor import Change, RolloutError
from spectrum.control.filter.node import NodeFilter
from spectrum.control.filter.tables import FilterTablesActor
from spectrum.control.flow_programs.kept_objects import KeptObjects
from spectrum.control.flow_programs.reading import MOST_INCLUDED, ReadProgram, read_program
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.configuration.config import Config
from spectrum.core.ddos.served import ServedError
from spectrum.core.flow_programs.instructions import ProgramError
from spectrum.core.flow_programs.objects import FlowProgram
from spectrum.core.flow_programs.places import judged_places
from spectrum.kernel.filter.flow_programs import FlowPrograms, code_of, pack_places, refusal
from spectrum.kernel.filter.names import FLOW_RESULTS
from spectrum.kernel.pins import PinError
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)

# The metric's values.
_MODES = ("disabled", "log", "enabled")


def told(exc: PinError, read: Mapping[str, ReadProgram]) -> str:
    """Return what the kernel says of a program with the line that it is about, where that is known."""
    if (found := refusal(str(exc))) is None:
        return str(exc)
    name, at, why = found
    where = ""
    if name in read:
        where = (read[name].code.line_of(at) if at is not None else "") or str(read[name].path)
    return f"flow program {name}: {where}: {why}"


class FlowProgramsActor(FilterTablesActor[FlowPrograms]):
    """Flow programs as a configuration says.

    Args:
        node: The filter, which calls the programs.
        counts: What the filter counts.
        costs: What programs take.
        kept: What was compiled, for the next start.
    """

    what = "flow programs"
    keys = frozenset({"flow_programs", "apps"})

    def __init__(self, node: NodeFilter, counts: KernelCounts, costs: KernelCounts, kept: KeptObjects) -> None:
        super().__init__()
        self._node = node
        self._counts = counts
        self._costs = costs
        self._objects = kept
        # By name, those that are disabled as well.
        self._read: dict[str, ReadProgram] = {}
        self._kept: dict[str, ReadProgram] | None = None

    def _wanted(self, config: Config) -> FlowPrograms:
        try:
            self._read = {
                name: read_program(Path(one.file), one.source is not None, self._objects)
                for name, one in config.flow_programs.items()
            }
            return FlowPrograms(
                {name: code_of(self._read[name].code) for name, one in config.flow_programs.items() if one.is_on},
                pack_places(judged_places(config.flow_programs, config.apps)),
            )
        except (ProgramError, ServedError) as exc:
            raise RolloutError(f"flow programs: {exc}") from exc

    def _give(self, wanted: FlowPrograms) -> None:
        try:
            self._node.set_flow_programs(wanted)
        except PinError as exc:
            raise PinError(told(exc, self._read)) from exc

    async def commit(self, change: Change) -> None:
        """Show what judges from now on, and keep what was compiled of it."""
        await super().commit(change)
        read = self._read if self._config.flow_programs else {}
        if read != self._kept:
            self._kept = read
            await in_thread(self._keep, read)

    def _keep(self, read: Mapping[str, ReadProgram]) -> None:
        for name, one in read.items():
            if one.is_compiled and one.address is None:
                log.warning(
                    "flow program %s: %s includes files by macros, or more than %d; it is not kept, so each start "
                    "needs clang",
                    *(name, one.path, MOST_INCLUDED),
                )
        self._objects.keep({one.address: one.built for one in read.values() if one.address is not None})

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

    async def _shown(self, asked: ResourceRequest) -> dict[str, Any]:
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
