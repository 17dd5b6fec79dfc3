"""The filter of the file: its lists are read here, and the kernel gets them."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from spectrum.control.configuration.actor import Actor, Change, Jobs, Plan, RolloutError
from spectrum.control.filter.filter_metrics import filter_metrics
from spectrum.control.filter.sample_queue import SampleQueue
from spectrum.control.filter.samples import Sampler
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.fields import read_networks
from spectrum.core.filter import Filter, PacketRule
from spectrum.core.filter_rules import ANY_NUMBER, ANY_OCTET, FilterRule
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.filter.drops import Drops, pack_drops
from spectrum.kernel.filter.flow_programs import FlowPrograms
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import Network, PinError
from spectrum.kernel.samples import Sample, Samples
from spectrum.link.helper import (
    Done,
    Filtered,
    KeepFilter,
    RemoveFilter,
    SetDrops,
    SetFilter,
    SetFlowPrograms,
    UndoFilter,
)
from spectrum.tasks import in_thread

log = logging.getLogger(__name__)

# The ring buffer holds 7,000 samples; if more come within this time, the rest is counted as lost.
SAMPLES_INTERVAL_S = 0.2
# Faults reported of one list file; a file of another kind would have one on every line.
MAX_FAULTS_SHOWN = 5


def filter_paths(config: Config) -> list[Path]:
    """Return the files that a configuration names for its filter."""
    return [Path(one.file) for one in config.filter.lists.values() if one.file] if config.filter else []


def filter_faults(config: Config) -> list[Fault]:
    """Return the faults of the lists that a configuration names for its filter."""
    return _read(config.filter)[1] if config.filter else []


def _read(settings: Filter) -> tuple[dict[str, list[Network]], list[Fault]]:
    lists: dict[str, list[Network]] = {}
    faults: list[Fault] = []
    for name, one in settings.lists.items():
        lists[name] = list(one.prefixes)
        if one.file is None:
            continue
        path = ("filter", "lists", name, "file")
        try:
            found, wrong = read_networks(Path(one.file).read_bytes())
        except OSError as exc:
            faults.append(Fault(path, f"{one.file}: cannot be read: {(exc.strerror or str(exc)).lower()}"))
            continue
        lists[name] += found
        faults += [Fault(path, f"{one.file}:{line}: {message}") for line, message in wrong[:MAX_FAULTS_SHOWN]]
    return lists, faults


def _in_kernel(settings: Filter) -> FilterSettings:
    return FilterSettings(
        settings.packets_per_second or 0,
        settings.burst,
        settings.syns_per_second or 0,
        settings.syn_burst,
        settings.syn_action == "cookie",
        settings.sample_one_in or 0,
        settings.dry_run,
    )


def _rule(rule: PacketRule) -> FilterRule:
    return FilterRule(
        rule.source,
        rule.destination,
        rule.protocol or ANY_OCTET,
        rule.source_port,
        rule.destination_port,
        rule.length or ANY_NUMBER,
        rule.ttl or ANY_OCTET,
        rule.tcp_flags,
        rule.fragment,
        rule.packets_per_second or 0,
        rule.version,
        rule.window,
        rule.ident,
        payload=rule.payload,
        idle=bool(rule.idle),
        known=rule.known,
        served=rule.served,
        action=rule.does,
        sequence=rule.sequence,
        acknowledgement=rule.acknowledgement,
    )


class NodeFilter:
    """Configures the kernel's filter as the file says.

    Args:
        helper: Changes the kernel's tables.

    Attributes:
        settings: The filter's settings; None without a filter.
        sampler: Keeps the samples, if the filter takes any.
        queue: Keeps samples for analytics.
    """

    def __init__(self, helper: Helper) -> None:
        self._helper = helper
        self.settings: Filter | None = None
        self.sampler: Sampler | None = None
        self.queue = SampleQueue()
        # The descriptor of the ring buffer, and its reader.
        self._sampled: tuple[int, Samples] | None = None
        # The configuration is applied in a thread while samples are read on the loop.
        self._reading = threading.Lock()

    @property
    def state(self) -> str:
        """ "on" with its interfaces, or "off"."""
        if self.settings is None:
            return "off"
        return f"on: {', '.join(self.settings.interfaces)}{', dry run' * self.settings.dry_run}"

    def apply(self, config: Config) -> Callable[[], None]:
        """Apply the filter of a configuration, or remove it; return a function that restores the former one, valid
        until `keep`. It takes seconds for long lists: call it in a thread.

        Raises:
            PinError: If a list cannot be read, or the kernel refuses; the former filter stays.
        """
        settings = config.filter
        if settings is None:
            self.remove()  # Also a filter that a killed daemon left.
            return lambda: None
        lists, faults = _read(settings)
        if faults:
            raise PinError("\n".join(f"filter: {fault.message}" for fault in faults))
        drops = pack_drops(settings.guard, lists, {name: _rule(rule) for name, rule in settings.rules.items()})
        request = SetFilter(list(settings.interfaces), _in_kernel(settings), drops)
        before = self.settings
        if (answer := self._helper.ensure(request, Filtered)) is None:
            return lambda: None
        self._sample(*answer)
        self.settings = settings
        return partial(self._undo, before)

    def set_drops(self, owner: str, drops: Drops) -> None:
        """Replace the rules of an owner other than the file; it blocks.

        Raises:
            PinError: If there is no filter, or the kernel refuses; the former rules stay.
        """
        self._name(*self._helper.ask(SetDrops(owner, drops), Filtered))

    def set_flow_programs(self, programs: FlowPrograms) -> None:
        """Replace the flow programs that judge datagrams; it blocks.

        Raises:
            PinError: If there is no filter, or the kernel refuses one; the former programs stay.
        """
        if (answer := self._helper.ensure(SetFlowPrograms(programs), Filtered)) is not None:
            self._name(*answer)

    def _name(self, filtered: Filtered, descriptors: list[int]) -> None:
        close_all(descriptors)
        with self._reading:
            if self._sampled is not None:
                self._sampled[1].name(filtered.places)

    def _undo(self, before: Filter | None) -> None:
        self._sample(*self._helper.ask(UndoFilter(), Filtered))
        self.settings = before

    def keep(self) -> None:
        """Forget how to undo the last change."""
        if self.settings is not None and not self._helper.is_lost:
            with suppress(PinError):  # The helper has ended, which is reported elsewhere.
                self._helper.ask(KeepFilter(), Done)

    def _sample(self, filtered: Filtered, descriptors: list[int]) -> None:
        """Read samples, if the filter takes any. Lists and rules, and their numbers, may have changed.

        Raises:
            PinError: If they cannot be read.
        """
        if not descriptors:
            self._swap(None)
            self.sampler = None
            return
        try:
            self._swap((descriptors[0], Samples(descriptors[0], filtered.places)))
        except BpfError as exc:
            close_all(descriptors)
            close_all(self._helper.ask(UndoFilter(), Filtered)[1])
            raise PinError(f"samples: {exc}") from exc
        self.sampler = self.sampler or Sampler(self._read)

    def _swap(self, sampled: tuple[int, Samples] | None) -> None:
        with self._reading:
            former, self._sampled = self._sampled, sampled
            if former is not None:
                former[1].close()
                os.close(former[0])

    def _read(self) -> list[Sample]:
        with self._reading:
            found = self._sampled[1].read() if self._sampled else []
            if self.settings is not None and found:
                self.queue.add(found, self.settings.sample_one_in or 1, self.settings.dry_run)
            return found

    def samples(self, keys: list[str], seconds: float, count: int) -> list[dict[str, Any]]:
        """Return the most frequent groups of recent samples; see `Sampler.top`.

        Raises:
            ValueError: If there are no samples, or a key is unknown.
        """
        if self.sampler is None:
            raise ValueError("no packets are sampled; set filter.sample_one_in, to 1000 say")
        return self.sampler.top(keys, seconds, count, (self.settings and self.settings.sample_one_in) or 1)

    def collect(self) -> None:
        """Read new samples; it is called several times a second."""
        if self.sampler is not None:
            self.sampler.collect()

    def remove(self) -> None:
        """Remove the filter: all packets pass.

        Raises:
            PinError: If there is no helper to do it.
        """
        if self.settings is None and self._helper.is_lost:
            return
        if self._helper.has_pins():
            removed = self._helper.ensure(RemoveFilter(), Done)
            if removed and removed[0].found:
                log.info("the filter is off")
        self._swap(None)
        self.sampler = None
        self.settings = None


class FilterActor(Actor):
    """Applies the filter of a configuration.

    Args:
        node: Configures the kernel's filter.
        counts: Its counters.
    """

    def __init__(self, node: NodeFilter, counts: KernelCounts) -> None:
        self._node = node
        self._counts = counts
        self._undo: Callable[[], None] | None = None
        self._removed = False

    async def prepare(self, change: Change) -> None:
        """Configure the kernel's filter.

        Raises:
            RolloutError: If the kernel refuses.
        """
        self._undo, self._removed = None, False
        if change.after.config.filter is not None and change.names is None:
            await self._in_kernel(self._apply, change.after.config)

    async def commit(self, change: Change) -> None:
        """Remove the filter if the new configuration, which workers have by now, has none.

        Raises:
            RolloutError: If that fails.
        """
        if change.after.config.filter is None and change.names is None:
            self._removed = True
            await self._in_kernel(self._node.remove)

    async def abort(self, change: Change) -> None:
        """Restore the former filter."""
        if self._undo is not None:
            await in_thread(self._undo)
        elif self._removed and not change.is_first:
            await in_thread(self._node.apply, change.before.config)

    async def status(self) -> Mapping[str, Any]:
        """Return the state of the filter."""
        return {"kernel": {"filter": self._node.state}}

    async def metrics(self) -> Iterable[Metric]:
        """Return the packets that were dropped, by reason."""
        settings = self._node.settings
        return filter_metrics(settings, await self._counts.read() if settings else {})

    def resources(self) -> Iterable[Resource]:
        """GET /samples."""
        return (Resource("GET", "/samples", self._samples),)

    async def _samples(self, asked: ResourceRequest) -> dict[str, Any]:
        query = asked.query
        try:
            seconds, count = float(query.get("seconds", "10")), int(query.get("count", "20"))
            return {"top": self._node.samples(query.get("by", "").split(","), seconds, count)}
        except ArithmeticError as exc:
            raise ValueError(str(exc)) from exc

    async def release(self, change: Change) -> None:
        """Forget how to undo the change."""
        if change.names is None:
            await in_thread(self._node.keep)

    async def restore(self, plan: Plan) -> None:
        """Apply the filter that is served."""
        await in_thread(self._node.apply, plan.config)

    def jobs(self) -> Jobs:
        """Read samples."""
        return {"read the filter's samples": self._collect}

    async def _collect(self) -> None:
        while True:
            self._node.collect()
            await asyncio.sleep(SAMPLES_INTERVAL_S)

    async def drain(self) -> None:
        """Remove the filter."""
        await in_thread(self._node.remove)

    def _apply(self, config: Config) -> None:
        # In the thread, which runs to its end if the task is cancelled.
        self._undo = self._node.apply(config)

    @staticmethod
    async def _in_kernel(step: Callable[..., object], *args: Config) -> None:
        try:
            await in_thread(step, *args)
        except PinError as exc:
            raise RolloutError(f"in the kernel: {exc}") from exc
