"""The score of detection as a table."""

from collections.abc import Iterable
from statistics import median

from benchmarks.ddos.score import Score, run, run_crowd
from spectrum.simulation.normal import CROWDS

COLUMNS = (
    "| vectors | times normal | one packet in | found | time, median, s | worst, s | matched | loss, worst, % "
    "| openings lost, known, new, worst, % | rules |"
)


def row(label: str, times: float, one_in: float, scores: Iterable[Score]) -> str:
    """Return a line of the table."""
    scores = list(scores)
    found = [score.found_s for score in scores if score.found_s is not None]
    return (
        f"| {label} | {times:g} | {one_in:g} | {len(found)} of {len(scores)} | {median(found):.2f} | {max(found):.2f} "
        f"| {100 * sum(score.matched for score in scores) / len(scores):.2f} % "
        f"| {100 * max(score.loss for score in scores):.3f} "
        f"| {100 * max(score.openings[0] for score in scores):.2f}, "
        f"{100 * max(score.openings[1] for score in scores):.2f} "
        f"| {sum(len(score.rules) for score in scores) / len(scores):.1f} |"
    )


def score(names: Iterable[str], times: float, one_in: float, seeds: Iterable[int]) -> list[Score]:
    """Return the scores of floods."""
    return [run(name, times, one_in, seed) for seed in seeds for name in names]


def crowds_with_rules(one_in: float, seeds: Iterable[int], sizes: Iterable[float] = (0.5, 1, 2)) -> tuple[int, int]:
    """Return how many crowds caused a rule, and how many there were."""
    sizes = tuple(sizes)
    results = [bool(run_crowd(name, size, one_in, seed)) for seed in seeds for name in CROWDS for size in sizes]
    return sum(results), len(results)
