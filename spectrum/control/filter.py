"""The filter of the file: its lists are read here, and the kernel gets them."""

import logging
from pathlib import Path

from spectrum.core.config import Config, Filter
from spectrum.core.faults import Fault
from spectrum.core.fields import read_networks
from spectrum.kernel import filter as kernel
from spectrum.kernel.filter import FilterSettings
from spectrum.kernel.pins import Network, PinError

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


class NodeFilter:
    """Keeps the kernel's filter to what the file says.

    Args:
        filesystem: The BPF file system.
    """

    def __init__(self, filesystem: Path) -> None:
        self._filesystem = filesystem
        self.state = "off"

    def apply(self, config: Config) -> None:
        """Filter as a configuration says, or not at all.

        Raises:
            PinError: If a list can not be read, or the kernel does not take it; a filter that was there stays.
        """
        if config.filter is None:
            self.remove()  # also what a daemon left that was killed
            return
        lists, faults = _read(config.filter)
        if faults:
            raise PinError("\n".join(f"filter: {fault.message}" for fault in faults))
        kernel.load(config.filter.interfaces, self._filesystem)
        settings = config.filter
        with kernel.Filter(self._filesystem) as one:
            one.guard(settings.guard)  # before anything is dropped
            one.configure(FilterSettings(settings.packets_per_second or 0, settings.burst, settings.dry_run))
            one.block(lists)
        self.state = f"on: {', '.join(settings.interfaces)}{', dry run' * settings.dry_run}"

    def remove(self) -> None:
        """Let everything pass again."""
        self.state = "off"
        if kernel.remove(self._filesystem):
            log.info("the filter is off")
