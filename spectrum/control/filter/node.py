"""The filter of the file: its lists are read here, and the kernel gets them."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spectrum.control.filter.samples import Sampler
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.fields import read_networks
from spectrum.core.filter import Filter, PacketRule
from spectrum.kernel import filter as kernel
from spectrum.kernel.filter import FilterSettings
from spectrum.kernel.libbpf import BpfError
from spectrum.kernel.pins import Network, PinError
from spectrum.kernel.samples import Sample, Samples

log = logging.getLogger(__name__)

# Of a list that is no list.
MAX_FAULTS_SHOWN = 5


def filter_paths(config: Config) -> list[Path]:
    """Return the files that a configuration names for its filter."""
    return [Path(one.file) for one in config.filter.lists.values() if one.file] if config.filter else []


def filter_faults(config: Config) -> list[Fault]:
    """Return what is wrong with the lists that a configuration names for its filter."""
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
            faults.append(Fault(path, f"{one.file}: can not be read: {(exc.strerror or str(exc)).lower()}"))
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


def _rule(rule: PacketRule) -> kernel.FilterRule:
    return kernel.FilterRule(
        rule.source,
        rule.destination,
        rule.protocol or (0, 255),
        rule.source_port,
        rule.destination_port,
        rule.length or (0, 65535),
        rule.ttl or (0, 255),
        rule.tcp_flags,
        rule.fragment,
        rule.packets_per_second or 0,
    )


class NodeFilter:
    """Keeps the kernel's filter to what the file says.

    Args:
        filesystem: The BPF file system.

    Attributes:
        state: "on" with its interfaces, or "off".
        sampler: Keeps the samples, where there are any.
    """

    def __init__(self, filesystem: Path) -> None:
        self._filesystem = filesystem
        self.state = "off"
        self.sampler: Sampler | None = None
        self._sampled: tuple[kernel.PinnedFilter, Samples] | None = None
        self._one_in: int | None = None
        # It is applied in a thread while samples are read on the loop.
        self._reading = threading.Lock()

    def apply(self, config: Config) -> Callable[[], None]:
        """Filter as a configuration says, or not at all; return what puts everything back.

        It takes seconds for long lists: use a thread.

        Raises:
            PinError: If a list cannot be read, or the kernel does not take it; a filter that was there stays as it was.
        """
        settings = config.filter
        if settings is None:
            self.remove()  # also what a daemon left that was killed
            return lambda: None
        lists, faults = _read(settings)
        if faults:
            raise PinError("\n".join(f"filter: {fault.message}" for fault in faults))
        with ExitStack() as undo:
            undo.callback(setattr, self, "state", self.state)
            undo.callback(self._attach, kernel.attached(self._filesystem))
            kernel.load(settings.interfaces, self._filesystem)
            with kernel.PinnedFilter(self._filesystem) as one:
                undo.callback(self._put_back, one.journal)
                one.guard(settings.guard)  # before anything is dropped
                one.configure(_in_kernel(settings))
                one.rule({name: _rule(rule) for name, rule in settings.rules.items()})
                one.block(lists)
            undo.callback(self._sample, self._one_in)
            self._sample(settings.sample_one_in)
            self.state = f"on: {', '.join(settings.interfaces)}{', dry run' * settings.dry_run}"
            return undo.pop_all().close

    def _attach(self, interfaces: list[str]) -> None:
        if interfaces:
            kernel.load(interfaces, self._filesystem)
        else:
            kernel.remove(self._filesystem)

    def _put_back(self, journal: kernel.Journal) -> None:
        with kernel.PinnedFilter(self._filesystem) as one:
            one.put_back(journal)

    def _sample(self, one_in: int | None) -> None:
        """Read samples, one of so many packets; None for no longer. Lists and rules may have come and gone."""
        former, self._one_in = self._one_in, one_in
        found: kernel.PinnedFilter | None = None
        try:
            if one_in is not None:
                found = kernel.PinnedFilter(self._filesystem)
                self._swap((found, Samples(found)))
            else:
                self._swap(None)
        except BpfError as exc:
            self._one_in = former
            if found is not None:
                found.close()
            raise PinError(f"samples: {exc}") from exc
        if one_in is None:
            self.sampler = None
        elif self.sampler is None:
            self.sampler = Sampler(self._read)

    def _swap(self, sampled: tuple[kernel.PinnedFilter, Samples] | None) -> None:
        with self._reading:
            former, self._sampled = self._sampled, sampled
            for one in reversed(former or ()):
                one.close()

    def _read(self) -> list[Sample]:
        with self._reading:
            return self._sampled[1].read() if self._sampled else []

    def samples(self, keys: list[str], seconds: float, count: int) -> list[dict[str, Any]]:
        """Return what came in most of lately; see `Sampler.top`.

        Raises:
            ValueError: If there are no samples, or none of such a kind.
        """
        if self.sampler is None:
            raise ValueError("no packets are sampled; set filter.sample_one_in, to 1000 say")
        return self.sampler.top(keys, seconds, count, self._one_in or 1)

    def collect(self) -> None:
        """Read what samples there are; to be called a few times a second."""
        if self.sampler is not None:
            self.sampler.collect()

    def remove(self) -> None:
        """Let everything pass again."""
        self._sample(None)
        self.state = "off"
        if kernel.remove(self._filesystem):
            log.info("the filter is off")
