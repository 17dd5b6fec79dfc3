"""Results as a table with ratios to each peer, as JSON, and as an SVG chart."""

import json
import platform
from pathlib import Path

from benchmarks.rounds import Figures, Rows

RESULTS = Path(__file__).parent / "results"
OURS = "spectrum"
# The load without any proxy: shown beside the peers, but none of them.
DIRECT = "no proxy"


def table(results: dict[str, Figures], rows: Rows) -> str:
    """Return a Markdown table; behind each peer's figure stands ours divided by it."""
    names = list(results)
    lines = ["| per unit of work | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for row in _shown(results, rows):
        title, unit, _ = rows[row]
        cells = [_cell(results, name, row) for name in names]
        lines.append(f"| {title}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _shown(results: dict[str, Figures], rows: Rows) -> list[str]:
    return [row for row in rows if all(row in figures for figures in results.values())]


def _cell(results: dict[str, Figures], name: str, row: str) -> str:
    value = results[name][row]
    if name.startswith(OURS) or OURS not in results or not value:
        return _number(value)
    return f"{_number(value)} ({results[OURS][row] / value:.2f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def best_ratios(results: dict[str, Figures], rows: Rows) -> dict[str, float]:
    """Return ours divided by the best peer's, for each row."""
    peers = [name for name in results if not name.startswith(OURS) and name != DIRECT]
    ratios = {}
    for row in _shown(results, rows):
        less = rows[row][2]
        values = [results[name][row] for name in peers if results[name][row]]
        if values and OURS in results:
            ratios[row] = results[OURS][row] / (min(values) if less else max(values))
    return ratios


def write(name: str, results: dict[str, Figures], rows: Rows, rounds: int, seconds: int) -> list[Path]:
    """Write JSON and chart to benchmarks/results/ and return their paths."""
    RESULTS.mkdir(exist_ok=True)
    json_path, svg_path, md_path = (RESULTS / f"{name}.{ending}" for ending in ("json", "svg", "md"))
    record = {
        "kernel": platform.release(),
        "rounds": rounds,
        "seconds_per_load": seconds,
        "median_of_rounds": results,
        "ratio_to_best_peer": best_ratios(results, rows),
    }
    json_path.write_text(json.dumps(record, indent=2) + "\n")
    md_path.write_text(table(results, rows) + "\n")
    _chart(results, rows, svg_path)
    return [json_path, md_path, svg_path]


def _chart(results: dict[str, Figures], rows: Rows, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "spectrum"
    from matplotlib import pyplot

    shown = [row for row in _shown(results, rows) if rows[row][2]]
    figure, axes = pyplot.subplots(2, (len(shown) + 1) // 2, figsize=(16, 7))
    for axis, row in zip(axes.flat, shown, strict=False):
        values = [results[name][row] for name in results]
        colours = ["#e8590c" if name.startswith(OURS) else "#868e96" for name in results]
        axis.barh([name.replace(", ", ",\n") for name in results], values, color=colours)
        axis.set_title(f"{rows[row][0]},\n{rows[row][1]}", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.invert_yaxis()
    for axis in axes.flat[len(shown) :]:
        axis.remove()
    figure.suptitle("Less is better")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
