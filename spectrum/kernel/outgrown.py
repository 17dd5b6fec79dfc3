"""Load a program whose maps have another shape than those that a previous version has pinned.

libbpf refuses to use a pinned map of another shape. If values have grown at their end, or maps have more entries, the
contents are copied: a new map replaces the former one, which is freed with the program that uses it. Per-CPU values are
counters, and start at zero; ring buffers start empty, and so do arrays of programs, which cannot be read.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from spectrum.kernel.libbpf import BpfError, Map, Object, Shape
from spectrum.kernel.pins import PinError, load, program_code

# BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PROG_ARRAY and BPF_MAP_TYPE_RINGBUF of linux/bpf.h.
_ARRAY, _PROGRAMS, _RING = 2, 3, 27
_ASIDE = "-former"


def load_over(
    program: str,
    folder: Path,
    maps: Collection[str],
    entries: Mapping[str, int] | None = None,
    constants: bytes = b"",
    together: Mapping[str, str] | None = None,
) -> Object:
    """Load a program with the pinned maps, or with copies of those of another shape; the caller closes it.

    Args:
        program: Its name.
        folder: The folder of pinned maps.
        maps: Their names.
        entries: The number of entries of maps by name, if it differs from the object's.
        constants: Values that replace the object's constants; empty for the object's.
        together: Pairs of maps by name: the first one starts empty if the second one has another shape, because the
            programs in the first one use the second.

    Raises:
        PinError: If the kernel refuses it; the pinned maps are then unchanged.
    """
    try:
        _put_back(folder / f"{program}_{name}" for name in maps)
        shapes = Object.shapes(program_code(program), maps)
        shapes |= {name: shapes[name]._replace(entries=count) for name, count in (entries or {}).items()}
        outgrown = {
            path: shape for name, shape in shapes.items() if _differs(path := folder / f"{program}_{name}", shape)
        }
        for name, other in (together or {}).items():
            path = folder / f"{program}_{name}"
            if folder / f"{program}_{other}" in outgrown and path.exists():
                outgrown[path] = shapes[name]
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
    """Return the shape of a pinned map.

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
    """Restore pins that were moved by a process that was killed meanwhile: no program uses the new maps yet."""
    for path in paths:
        if (former := _former(path)).exists():
            former.replace(path)


@contextmanager
def _aside(paths: Collection[Path]) -> Iterator[None]:
    """Return a context in which pins are moved aside; afterwards they are removed, or restored on failure."""
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
    """Copy the contents of a map to the new one at its path."""
    before = shape_of(_former(path))
    if (before.kind, before.key_bytes) != (shape.kind, shape.key_bytes) or shape.is_per_cpu:
        return
    if shape.kind in (_PROGRAMS, _RING):
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
