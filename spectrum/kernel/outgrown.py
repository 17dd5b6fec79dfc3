"""Load a program whose maps have another shape than those that a version before has pinned.

libbpf refuses to use a pinned map of another shape. Where new fields are at the end of a value, and more entries behind
the former ones, what is in it can be taken over: the former map gives its place to a new one, and is gone with the
program that uses it. Per-CPU values are counters, and begin anew; so do ring buffers.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from spectrum.kernel.libbpf import BpfError, Map, Object, Shape
from spectrum.kernel.pins import PinError, load, program_code

# BPF_MAP_TYPE_ARRAY and BPF_MAP_TYPE_RINGBUF of linux/bpf.h.
_ARRAY, _RING = 2, 27
_ASIDE = "-former"


def load_over(
    program: str,
    folder: Path,
    maps: Collection[str],
    entries: Mapping[str, int] | None = None,
    constants: bytes = b"",
) -> Object:
    """Load a program with the maps that are pinned, or with what is in those of another shape; the caller closes it.

    Args:
        program: Its name.
        folder: Where maps are pinned.
        maps: Their names.
        entries: By the name of a map, how many it holds, if not as many as the object says.
        constants: What stands in place of the object's constants; empty for these.

    Raises:
        PinError: If the kernel does not take it; the pinned maps are as before then.
    """
    try:
        _put_back(folder / f"{program}_{name}" for name in maps)
        shapes = Object.shapes(program_code(program), maps)
        shapes |= {name: shapes[name]._replace(entries=count) for name, count in (entries or {}).items()}
        outgrown = {
            path: shape for name, shape in shapes.items() if _differs(path := folder / f"{program}_{name}", shape)
        }
        with _aside(outgrown):
            loaded = load(program, folder, dict.fromkeys(maps, (0, 0)), entries, constants)
            try:
                for path, shape in outgrown.items():
                    _take_over(path, shape)
            except BpfError:
                loaded.close()
                raise
        return loaded
    except BpfError as exc:
        raise PinError(f"maps of a version before: {exc}") from exc


def _differs(path: Path, shape: Shape) -> bool:
    return path.exists() and shape_of(path) != shape


def shape_of(path: Path) -> Shape:
    """Return the shape of the map that is pinned at a path.

    Raises:
        BpfError: If there is none.
    """
    one = Map.pinned(path, 0, 0)
    try:
        return one.shape()
    finally:
        one.close()


def _former(path: Path) -> Path:
    return path.with_name(path.name + _ASIDE)


def _put_back(paths: Iterable[Path]) -> None:
    """Put pins back that a process had set aside that was killed then: no program uses their successors yet."""
    for path in paths:
        if (former := _former(path)).exists():
            former.replace(path)


@contextmanager
def _aside(paths: Collection[Path]) -> Iterator[None]:
    """Return a context in which pins have another path; they are removed after it, or put back if it fails."""
    moved: list[Path] = []
    try:
        for path in paths:
            path.rename(_former(path))
            moved.append(path)
        yield
    except BaseException:
        _put_back(moved)
        raise
    for path in moved:
        _former(path).unlink()


def _take_over(path: Path, shape: Shape) -> None:
    """Copy what was in a map to the new one at its path."""
    before = shape_of(_former(path))
    if (before.kind, before.key_bytes) != (shape.kind, shape.key_bytes) or shape.is_per_cpu or shape.kind == _RING:
        return
    former = Map.pinned(_former(path), before.key_bytes, before.value_bytes)
    fresh = Map.pinned(path, shape.key_bytes, shape.value_bytes)
    try:
        for key, value in former.items():
            if shape.kind != _ARRAY or int.from_bytes(key, sys.byteorder) < shape.entries:
                fresh.set(key, value[: shape.value_bytes].ljust(shape.value_bytes, b"\0"))
    finally:
        former.close()
        fresh.close()
