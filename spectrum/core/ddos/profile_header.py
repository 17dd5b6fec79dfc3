"""The header of a profile's file: all but the packets. No I/O, no numpy; see docs/ddos-profiles.md.

A file is `MAGIC`, the version (16 bits) and the length of the header (32 bits), little-endian; the header, as JSON; the
rows of each reservoir, column by column; and 32 bytes of BLAKE2b over everything before.
"""

from hashlib import blake2b
from struct import Struct

import msgspec

from spectrum.core.ddos.maxima import Maxima

MAGIC = b"SPCTPROF"
VERSION = 1
DIGEST_BYTES = 32
# Limit of a file: 2,500 rows of an app have 0.25 MB, and the maxima of two weeks at most 0.2.
MOST_BYTES = 4 << 20
PREFIX = Struct("<8sHI")


class ProfileFileError(Exception):
    """A file of a profile is damaged, or of another version; the message says which."""


class ReservoirHeader(msgspec.Struct, frozen=True):
    """A reservoir: its name, and its number of rows."""

    name: str
    rows: int


class ProfileHeader(msgspec.Struct, frozen=True):
    """The state of an app, without rows.

    Attributes:
        app: Its name; empty for traffic without an app.
        serves: Its addresses and ports as text: an app of another name with the same ones is the same, renamed.
        saved: When it was saved, in seconds since 1970.
        learned_s: How long it was learned, in seconds.
        rates: Packets per second, by state of flow.
        known_share: The share of known sources in openings.
        known_rate: Packets per second from known sources, of all apps.
        columns: The names and types of columns, as numpy writes them.
        reservoirs: The reservoirs, in order.
        maxima: The adaptive profile.
        day_share: The share of rows of the last 24 h.
        oldest: The time of the oldest row, in seconds since 1970; None without rows.
        newest: The same of the newest.
        unseen: The largest share of openings that a rule hits which hits none of the rows.
        is_settled: Whether rules for the app act.
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
        ProfileFileError: If it is damaged, or of another version.
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
    """Return the digest at the end of a file."""
    return blake2b(body, digest_size=DIGEST_BYTES).digest()
