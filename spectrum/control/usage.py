"""The use of limits, and which limit is reached first."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from spectrum.control.http.exposition import Family, label
from spectrum.kernel.usage import ProcessUsage

# Limits written before the loop gets a turn: less than a millisecond.
SLICE = 200


class Usage(NamedTuple):
    """The use of one limit.

    Attributes:
        limit: The name of the limit.
        of: What it applies to: "node", an app, a process.
        used: The current use.
        maximum: The limit's value.
        setting: The setting that raises the limit.
    """

    limit: str
    of: str
    used: float
    maximum: float
    setting: str

    @property
    def share(self) -> float:
        """The used share; 1 if the limit is reached."""
        return self.used / self.maximum if self.maximum else 1.0


def usage_of_processes(processes: Mapping[str, ProcessUsage]) -> Iterator[Usage]:
    """Yield the use of descriptors, by the name of the process."""
    for name, usage in processes.items():
        if usage.descriptors is not None and usage.max_descriptors is not None:
            yield Usage("descriptors", name, usage.descriptors, usage.max_descriptors, "LimitNOFILE=, ulimit -n")


def usage_report(usages: Iterable[Usage]) -> list[dict[str, Any]]:
    """Return the report of `spectrum limits`: the limit with the largest used share first."""
    by_share = sorted(usages, key=lambda usage: (-usage.share, usage.limit, usage.of))
    return [usage._asdict() | {"share": round(usage.share, 6)} for usage in by_share]


async def usage_metrics(usages: Iterable[Usage]) -> list[bytes]:
    """Return two families with the same labels, the use and the limit, written some at a time."""
    maximum = Family("spectrum_limit", "Limits, by limit and its owner", "gauge")
    used = Family("spectrum_limit_used", "Current use of limits, by limit and its owner", "gauge")
    for i, usage in enumerate(usages, 1):
        labels = f"{label('limit', usage.limit)},{label('of', usage.of)}"
        maximum.add(labels, usage.maximum)
        used.add(labels, usage.used)
        if i % SLICE == 0:
            await asyncio.sleep(0)
    return [maximum.head, maximum.take(), used.head, used.take()]
