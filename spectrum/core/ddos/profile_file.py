"""Profiles of apps in files: rows, and the header of `profile_header`."""

from collections.abc import Sequence

import numpy as np

from spectrum.core.ddos.maxima import Maxima
from spectrum.core.ddos.packets import COLUMNS, Packets
from spectrum.core.ddos.profile import (
    DAY_MEMORY_S,
    ROWS,
    USED_ROWS,
    WEEK_MEMORY_S,
    AppMemory,
    AppRows,
    Certainty,
    Reservoir,
)
from spectrum.core.ddos.profile_header import (
    ProfileFileError,
    ProfileHeader,
    ReservoirHeader,
    read_header,
    with_header,
)

_AT = ("at", "<f8")
COLUMN_TYPES = (*((name, np.dtype(kind).newbyteorder("<").str) for name, kind in COLUMNS.items()), _AT)
_MEMORIES = {"day": DAY_MEMORY_S, "week": WEEK_MEMORY_S, "used": DAY_MEMORY_S}


def encode_profile(
    name: str, serves: str, memory: AppMemory, maxima: Sequence[Maxima], known_rate: float, sure: Certainty | None
) -> bytes:
    """Return the file of an app.

    Args:
        name: The app's name; empty for traffic without an app.
        serves: Its addresses and ports.
        memory: Its state.
        maxima: Its adaptive profile.
        known_rate: Packets per second from known sources, of all apps.
        sure: Its reliability, for readers of the header; None for traffic without an app.
    """
    reservoirs = {"day": memory.rows.day, "week": memory.rows.week, "used": memory.rows.used}
    first, second, third = map(float, memory.rates)
    oldest = memory.at - sure.oldest_s if sure and sure.oldest_s is not None else None
    newest = memory.at - sure.newest_s if sure and sure.newest_s is not None else None
    header = ProfileHeader(
        name,
        serves,
        memory.at,
        memory.rows.learned_s,
        (first, second, third),
        memory.known_share,
        known_rate,
        COLUMN_TYPES,
        tuple(ReservoirHeader(which, len(one.rows)) for which, one in reservoirs.items()),
        tuple(maxima),
        sure.day_share if sure else 0.0,
        oldest,
        newest,
        sure.unseen if sure else 1.0,
        bool(sure and sure.is_settled),
    )
    return with_header(header, b"".join(map(_packed, reservoirs.values())))


def _packed(reservoir: Reservoir) -> bytes:
    columns = [reservoir.rows[name] if name != "at" else reservoir.at for name, _ in COLUMN_TYPES]
    return b"".join(
        np.ascontiguousarray(column, kind).tobytes() for column, (_, kind) in zip(columns, COLUMN_TYPES, strict=True)
    )


def decode_profile(data: bytes) -> tuple[ProfileHeader, AppMemory]:
    """Return the header of a file, and the state of the app.

    Raises:
        ProfileFileError: If it is damaged, or of a later version.
    """
    header, rows = read_header(data)
    if not set(header.columns) <= set(COLUMN_TYPES) or _AT not in header.columns:
        raise ProfileFileError("its rows have columns that this program does not know")
    if tuple(one.name for one in header.reservoirs) != tuple(_MEMORIES):
        raise ProfileFileError(f"it has not the reservoirs {', '.join(_MEMORIES)}")
    size = sum(np.dtype(kind).itemsize for _, kind in header.columns)
    counts = [one.rows for one in header.reservoirs]
    if min(counts) < 0 or max(counts) > max(ROWS, USED_ROWS) or sum(counts) * size != len(rows):
        raise ProfileFileError(f"it has {len(rows)} bytes of rows, and its header says {counts}")
    found, begin = {}, 0
    for one in header.reservoirs:
        packed = rows[begin : begin + one.rows * size]
        found[one.name] = _unpacked(packed, header.columns, one.rows, _MEMORIES[one.name])
        begin += one.rows * size
    kept = AppRows(found["day"], found["week"], found["used"], header.learned_s)
    return header, AppMemory(kept, np.array(header.rates), header.known_share, header.saved)


def _unpacked(data: memoryview, kinds: Sequence[tuple[str, str]], count: int, memory_s: float) -> Reservoir:
    # What a version before did not keep is 0.
    columns = {name: np.zeros(count, kind) for name, kind in COLUMNS.items()}
    begin = 0
    for name, kind in kinds:
        end = begin + count * np.dtype(kind).itemsize
        columns[name] = np.frombuffer(data[begin:end], kind).astype(COLUMNS.get(name, np.float64))
        begin = end
    at = columns.pop("at")
    return Reservoir(memory_s, Packets(columns), at)
