"""Metric families as Prometheus' text, written a sample at a time.

`prometheus_client` makes several objects of each sample: for families that have samples for each of thousands of apps,
that takes seconds. The format is its own: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Sequence

from prometheus_client.utils import floatToGoString

# Whole numbers below it are written by Go as they are.
_SHORT = 1_000_000


def label(name: str, value: str) -> str:
    """Return a label with its value, as it stands between the braces."""
    if "\\" in value or '"' in value or "\n" in value:
        value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{value}"'


def number(value: float) -> str:
    """Return a value as Go writes a float64."""
    if isinstance(value, int) and -_SHORT < value < _SHORT:
        return f"{value:d}.0"
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


class Family:
    """A counter or a gauge.

    Args:
        name: Its name; that of a counter ends with `_total`.
        text: What it is, for people.
        kind: "counter" or "gauge".
    """

    def __init__(self, name: str, text: str, kind: str) -> None:
        self.head = f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode()
        self._name = name
        self._lines: list[str] = []

    def add(self, labels: str, value: float) -> None:
        """Add a sample; `labels` is what stands between the braces."""
        self._lines.append(f"{self._name}{{{labels}}} {number(value)}\n")

    def take(self) -> bytes:
        """Return the samples since the last call."""
        taken, self._lines = self._lines, []
        return "".join(taken).encode()


class HistogramFamily(Family):
    """A histogram.

    Args:
        name: Its name.
        text: What it is, for people.
        bounds: The upper bounds of its buckets, less that of the last one, which is for all above.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        super().__init__(name, text, "histogram")
        self._ends = [f',le="{bound}"}} ' for bound in (*bounds, "+Inf")]

    def observe(self, labels: str, counts: Sequence[int], total: float) -> None:
        """Add what was counted by bucket, and the sum of what was observed."""
        begin, running, lines = f"{self._name}_bucket{{{labels}", 0, self._lines
        for end, count in zip(self._ends, counts, strict=True):
            running += count
            lines.append(f"{begin}{end}{number(running)}\n")
        lines.append(f"{self._name}_count{{{labels}}} {number(running)}\n")
        lines.append(f"{self._name}_sum{{{labels}}} {number(total)}\n")


class SummaryFamily(Family):
    """A number of observations and their sum, without quantiles.

    Args:
        name: Its name.
        text: What it is, for people.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text, "summary")

    def observe(self, labels: str, count: int, total: float) -> None:
        """Add what was counted, and the sum of what was observed."""
        self._lines.append(f"{self._name}_count{{{labels}}} {number(count)}\n")
        self._lines.append(f"{self._name}_sum{{{labels}}} {number(total)}\n")
