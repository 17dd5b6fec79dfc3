"""How much is used of what is limited, and which limit is hit first."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from spectrum.control.http.exposition import Family, label
from spectrum.kernel.usage import ProcessUsage

# Limits that are written before the loop turns: less than a millisecond.
SLICE = 200


class Usage(NamedTuple):
    """One limit.

    Attributes:
        limit: What is limited.
        of: Whose limit it is: "node", an app, a process.
        used: So much is used now.
        maximum: Of so much.
        setting: What raises the limit.
    """

    limit: str
    of: str
    used: float
    maximum: float
    setting: str

    @property
    def share(self) -> float:
        """Which part is used; 1 for all."""
        return self.used / self.maximum if self.maximum else 1.0


def usage_of_processes(processes: Mapping[str, ProcessUsage]) -> Iterator[Usage]:
    """Yield the use of descriptors, by the name of the process."""
    for name, usage in processes.items():
        if usage.descriptors is not None and usage.max_descriptors is not None:
            yield Usage("descriptors", name, usage.descriptors, usage.max_descriptors, "LimitNOFILE=, ulimit -n")


def usage_report(usages: Iterable[Usage]) -> list[dict[str, Any]]:
    """Return what `spectrum limits` shows: what is nearest to its limit first."""
    by_share = sorted(usages, key=lambda usage: (-usage.share, usage.limit, usage.of))
    return [usage._asdict() | {"share": round(usage.share, 6)} for usage in by_share]


async def usage_metrics(usages: Iterable[Usage]) -> list[bytes]:
    """Return two families with the same labels: what is used, and what the limit is; written some at a time."""
    maximum = Family("spectrum_limit", "Limits, by what is limited and whose limit it is", "gauge")
    used = Family("spectrum_limit_used", "What is used of each limit now", "gauge")
    for i, usage in enumerate(usages, 1):
        labels = f"{label('limit', usage.limit)},{label('of', usage.of)}"
        maximum.add(labels, usage.maximum)
        used.add(labels, usage.used)
        if i % SLICE == 0:
            await asyncio.sleep(0)
    return [maximum.head, maximum.take(), used.head, used.take()]
