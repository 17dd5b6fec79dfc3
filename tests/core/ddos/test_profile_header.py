import msgspec
import pytest

from spectrum.core.ddos.profile_header import (
    DIGEST_BYTES,
    MAGIC,
    MOST_BYTES,
    PREFIX,
    ProfileFileError,
    ProfileHeader,
    digest_of,
    read_header,
    with_header,
)

HEADER = ProfileHeader("game", "udp 203.0.113.10:7000", 1.0, 2.0, (1.0, 2.0, 3.0), 0.5, 4.0, (), ())
WHOLE = with_header(HEADER, b"rows")


def test_what_is_written_is_read():
    header, rows = read_header(WHOLE)
    assert header == HEADER and bytes(rows) == b"rows"


def sealed(body):
    return body + digest_of(body)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "only 0 bytes"),
        (WHOLE[:-1], "digest"),
        (WHOLE[:20], "only 20 bytes"),
        (b"X" + WHOLE[1:], "begins with"),
        (sealed(PREFIX.pack(MAGIC, 2, 2) + b"{}"), "version 2, this program knows 1"),
        (sealed(PREFIX.pack(MAGIC, 1, 2) + b"{}"), "header is wrong"),
        (sealed(PREFIX.pack(MAGIC, 1, 900) + b"{"), "header is wrong"),
        (bytes(MOST_BYTES + 1), "more than"),
    ],
)
def test_faults_are_reported(data, why):
    with pytest.raises(ProfileFileError, match=why):
        read_header(data)


def test_each_changed_byte_is_seen():
    for place in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[place] ^= 1
        with pytest.raises(ProfileFileError):
            read_header(bytes(damaged))


def test_later_programs_may_add_to_the_header():
    fields = msgspec.json.decode(msgspec.json.encode(HEADER)) | {"more": 1}
    encoded = msgspec.json.encode(fields)
    assert read_header(sealed(PREFIX.pack(MAGIC, 1, len(encoded)) + encoded))[0] == HEADER
    assert len(WHOLE) > DIGEST_BYTES
