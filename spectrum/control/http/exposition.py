"""Metric families in Prometheus' text format, written sample by sample. `prometheus_client` creates several objects for
each sample, which takes seconds for families with samples of thousands of apps. The format:
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Sequence

from prometheus_client.utils import floatToGoString

# Go writes whole numbers below it without an exponent.
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
        text: The help text.
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
        text: The help text.
        bounds: The upper bounds of its buckets, without that of the last one, which is infinite.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        super().__init__(name, text, "histogram")
        self._ends = [f',le="{bound}"}} ' for bound in (*bounds, "+Inf")]

    def observe(self, labels: str, counts: Sequence[int], total: float) -> None:
        """Add counts by bucket, and the sum of the observed values."""
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
        text: The help text.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text, "summary")

    def observe(self, labels: str, count: int, total: float) -> None:
        """Add the count and the sum of the observed values."""
        self._lines.append(f"{self._name}_count{{{labels}}} {number(count)}\n")
        self._lines.append(f"{self._name}_sum{{{labels}}} {number(total)}\n")
