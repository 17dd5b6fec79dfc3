"""Interleaved rounds, so that what else the machine does falls on every proxy alike."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

Figures = dict[str, float]
# By key: name, unit, whether less is better; the rows of a table.
Rows = dict[str, tuple[str, str, bool]]


@contextmanager
def work_folder(name: str) -> Iterator[Path]:
    """Give a proxy a folder that its own user can read, and remove it."""
    path = Path(tempfile.mkdtemp(prefix=f"bench-{name.split(',')[0].replace(' ', '-')}-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def measure(
    names: list[str], measure_one: Callable[[str], Figures], rows: Rows, rounds: int, progress: Callable[[str], None]
) -> dict[str, Figures]:
    """Return the median figures of each proxy; each round begins with another one."""
    samples: dict[str, list[Figures]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            progress(f"round {number + 1} of {rounds}: {name}")
            samples[name].append(measure_one(name))
    return {
        name: {row: median(sample[row] for sample in taken) for row in rows if row in taken[0]}
        for name, taken in samples.items()
    }
