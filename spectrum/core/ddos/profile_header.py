"""What a file of a profile begins with: all but the packets themselves. No I/O, no numpy; see docs/ddos-profiles.md.

A file is `MAGIC`, the version (16 bits) and the length of the header (32 bits), little-endian; the header, as JSON; the
rows of each reservoir, column by column; and 32 bytes of BLAKE2b over all before.
"""

from hashlib import blake2b
from struct import Struct

import msgspec

from spectrum.core.ddos.maxima import Maxima

MAGIC = b"SPCTPROF"
VERSION = 1
DIGEST_BYTES = 32
# 2,500 rows of an app have 0.25 MB, and the maxima of two weeks at most 0.2.
MOST_BYTES = 4 << 20
PREFIX = Struct("<8sHI")


class ProfileFileError(Exception):
    """A file of a profile is not whole, or of another version; the message says which."""


class ReservoirHeader(msgspec.Struct, frozen=True):
    """A reservoir: its name, and how many rows it has."""

    name: str
    rows: int


class ProfileHeader(msgspec.Struct, frozen=True):
    """What is known of an app, but for rows.

    Attributes:
        app: Its name; empty for what no app gets.
        serves: Where it listens, as text: an app of another name that listens there is the same, renamed.
        saved: When, in seconds since 1970.
        learned_s: How long it was learned, in seconds.
        rates: Packets per second, by state of flow.
        known_share: Which part of openings comes from known sources.
        known_rate: Packets per second from known sources, of all apps.
        columns: Of rows: their names and types, as numpy writes these.
        reservoirs: They, in their order.
        maxima: The adaptive profile.
        day_share: Which part of the rows was of the last 24 h.
        oldest: When the oldest row came, in seconds since 1970; None without rows.
        newest: The same of the newest.
        unseen: A rule that hits none of the rows hits at most such a part of the openings.
        is_settled: Whether rules about the app act.
    """

    app: str
    serves: str
    saved: float
    learned_s: float
    rates: tuple[float, float, float]
    known_share: float
    known_rate: float
    columns: tuple[tuple[str, str], ...]
    reservoirs: tuple[ReservoirHeader, ...]
    maxima: tuple[Maxima, ...] = ()
    day_share: float = 0.0
    oldest: float | None = None
    newest: float | None = None
    unseen: float = 1.0
    is_settled: bool = False


_DECODER = msgspec.json.Decoder(ProfileHeader)


def read_header(data: bytes) -> tuple[ProfileHeader, memoryview]:
    """Return the header of a file, and its rows.

    Raises:
        ProfileFileError: If it is not whole, or of another version.
    """
    if len(data) > MOST_BYTES:
        raise ProfileFileError(f"it has more than {MOST_BYTES} bytes")
    if len(data) < PREFIX.size + DIGEST_BYTES:
        raise ProfileFileError(f"it has only {len(data)} bytes")
    magic, version, length = PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise ProfileFileError(f"it begins with {magic!r}, not {MAGIC!r}")
    if version != VERSION:
        raise ProfileFileError(f"it is of version {version}, this program knows {VERSION}")
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if digest_of(body) != digest:
        raise ProfileFileError("its content does not match its digest")
    end = PREFIX.size + length
    try:
        header = _DECODER.decode(body[PREFIX.size : end])
    except msgspec.MsgspecError as exc:
        raise ProfileFileError(f"its header is wrong: {exc}") from exc
    return header, memoryview(body)[end:]


def with_header(header: ProfileHeader, rows: bytes) -> bytes:
    """Return a whole file."""
    encoded = msgspec.json.encode(header)
    body = PREFIX.pack(MAGIC, VERSION, len(encoded)) + encoded + rows
    return body + digest_of(body)


def digest_of(body: bytes) -> bytes:
    """Return what a file ends with."""
    return blake2b(body, digest_size=DIGEST_BYTES).digest()
