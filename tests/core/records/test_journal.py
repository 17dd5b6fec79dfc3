import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.records.journal import (
    HEAD_BYTES,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    Batch,
    Cursor,
    Entry,
    Extent,
    Stop,
    decode_cursor,
    encode_cursor,
    encode_frame,
    end_of,
    find_batches,
    first_at_us,
    following,
    identified,
    lines_with,
    read_frames,
    resume,
    segment_header,
    surplus,
)
from tests.core.records.test_events import EVENT
from tests.properties import examples

BIG = st.integers(0, 2**64 - 1)
BATCHES = st.builds(Batch, st.text(max_size=40), BIG, st.integers(0, 2**32 - 1), BIG, st.binary(max_size=60))
SMALL = st.lists(
    st.builds(Batch, st.sampled_from(["n/0/a", "n/1/b"]), BIG, st.integers(1, 3), BIG, st.binary(max_size=9))
)


def segment(batches, first=0):
    """The bytes of a segment, and its frames."""
    data, record, frames = segment_header(first), first, []
    for batch in batches:
        data += b"".join(encode_frame(batch, record))
        record += batch.records
        frames.append(Entry(batch, Cursor(first, len(data), record)))
    return data, frames


@given(st.lists(BATCHES, max_size=5), st.integers(0, 2**62))
def test_what_is_written_is_read(batches, first):
    data, frames = segment(batches, first)
    assert read_frames(data, Cursor(first, 0, first)) == (frames, Stop.END)
    for i, frame in enumerate(frames):  # from each place in between
        assert read_frames(data[frame.end.offset :], frame.end) == (frames[i + 1 :], Stop.END)


@given(SMALL)
@examples(50)
def test_a_write_that_was_cut_leaves_what_was_whole(batches):
    data, frames = segment(batches, 7)
    for length in range(len(data)):
        whole = [frame for frame in frames if frame.end.offset <= length]
        assert read_frames(data[:length], Cursor(7, 0, 7)) == (whole, Stop.END)


@given(SMALL.filter(bool), st.data())
def test_a_flipped_bit_is_seen(batches, data):
    whole, frames = segment(batches, 7)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    broken = bytearray(whole)
    broken[bit // 8] ^= 1 << bit % 8
    found, _ = read_frames(bytes(broken), Cursor(7, 0, 7))
    assert found == [frame for frame in frames if frame.end.offset <= bit // 8]


@given(st.binary(max_size=200), st.integers(0, 3), st.integers(0, 60))
def test_anything_else_is_not_read_as_records(data, segment_number, offset):
    assert read_frames(data, Cursor(segment_number, offset, segment_number))[0] == []


def test_a_frame_of_another_place_is_damage():
    batch = Batch("n/0/a", 1, 2, 3, b"{}\n{}\n")
    data = segment_header(0) + b"".join(encode_frame(batch, 0))
    assert read_frames(data + b"".join(encode_frame(batch, 1)), Cursor(0, 0, 0))[1] is Stop.DAMAGED
    assert read_frames(data, Cursor(1, 0, 1)) == ([], Stop.DAMAGED)
    assert read_frames(bytes(HEADER_BYTES), Cursor(0, 0, 0)) == ([], Stop.DAMAGED)


def test_a_batch_beyond_a_frame_is_refused():
    with pytest.raises(ValueError, match=f"at most {MAX_FRAME_BYTES}"):
        encode_frame(Batch("n/0/a", 1, 1, 1, bytes(MAX_FRAME_BYTES)), 0)


# Segments of records 10 to 19, 20 to 29, 30 to 34.
EXTENT = Extent((10, 20, 30), Cursor(30, 500, 35))


@pytest.mark.parametrize(
    ("cursor", "place", "lost"),
    [
        (None, Cursor(10, 0, 10), 0),  # new
        (Cursor(10, 100, 12), Cursor(10, 100, 12), 0),
        (Cursor(30, 400, 34), Cursor(30, 400, 34), 0),
        (Cursor(30, 500, 35), Cursor(30, 500, 35), 0),
        (Cursor(0, 100, 4), Cursor(10, 0, 10), 6),  # dropped unread
        (Cursor(0, 900, 10), Cursor(10, 0, 10), 0),  # dropped, but read
        (Cursor(15, 100, 17), Cursor(20, 0, 20), 3),  # one is missing within
        (Cursor(31, 100, 33), EXTENT.end, 2),
        (Cursor(30, 900, 34), EXTENT.end, 1),  # it was cut, and is another one now
        (Cursor(30, 900, 60), EXTENT.end, 0),  # further than the journal
        (Cursor(50, 100, 51), EXTENT.end, 0),
    ],
)
def test_where_a_reader_continues(cursor, place, lost):
    assert resume(cursor, EXTENT) == (place, lost)


def test_the_segment_after():
    assert following(Cursor(10, 900, 19), EXTENT) == (Cursor(20, 0, 20), 1)
    assert following(Cursor(20, 900, 30), EXTENT) == (Cursor(30, 0, 30), 0)
    assert following(Cursor(30, 100, 31), EXTENT) == (EXTENT.end, 4)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=6),
    st.builds(Cursor, st.integers(0, 300), st.integers(0, 300), st.integers(0, 300)),
)
def test_a_reader_continues_within_the_journal_and_knows_what_it_lost(counts, cursor):
    numbers = [sum(counts[:i]) for i in range(len(counts))]
    extent = Extent(tuple(numbers), Cursor(numbers[-1], 100, sum(counts)))
    place, lost = resume(cursor, extent)
    assert place.record <= extent.end.record and place.segment in numbers
    assert place.segment >= min(cursor.segment, extent.end.segment)
    assert lost == max(0, place.record - cursor.record)
    assert resume(place, extent) == (place, 0)


@pytest.mark.parametrize(
    ("added", "max_bytes", "dropped"),
    [(0, 60, []), (1, 60, [0]), (11, 60, [0, 5]), (40, 60, [0, 5]), (10**6, 60, [0, 5])],
)
def test_the_oldest_are_dropped_never_the_last(added, max_bytes, dropped):
    assert surplus([(0, 10), (5, 20), (9, 30)], added, max_bytes) == dropped


@given(st.builds(Cursor, st.just(3), st.integers(0, 2**60), st.integers(3, 2**60)))
def test_a_cursor_is_kept(cursor):
    assert decode_cursor(encode_cursor(cursor)) == cursor


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[1]", b'{"segment":1,"offset":-1,"record":1}', b"\xff"])
def test_invalid_cursors(data):
    with pytest.raises(ValueError):
        decode_cursor(data)


def test_each_record_has_an_id_of_its_own():
    line = msgspec.json.encode(EVENT) + b"\n"
    lines = identified(Batch('the "edge"/0/5f', 41, 2, 0, line * 2)).splitlines()
    assert [json.loads(one)["RecordId"] for one in lines] == ['the "edge"/0/5f/41', 'the "edge"/0/5f/42']
    assert [{**json.loads(one), "RecordId": None} for one in lines] == [{**json.loads(line), "RecordId": None}] * 2


MARKED = st.lists(
    st.builds(
        Batch,
        st.sampled_from(["n/0/a", "n/1/b"]),
        st.integers(0, 99),
        st.integers(1, 3),
        BIG,
        st.lists(st.sampled_from([b'"ClientIP":"192.0.2.7"', b"abc", b'"ClientIP":"192.0.2.70"'])).map(b"\n".join),
    ),
    max_size=8,
)


@given(MARKED, st.data())
def test_batches_with_a_text_however_much_of_the_segment_is_there(batches, data):
    whole, _ = segment(batches, 7)
    text = whole[: data.draw(st.integers(0, len(whole)))]
    read = [entry.batch for entry in read_frames(text, Cursor(7, 0, 7))[0]]
    for mark in (b'"ClientIP":"192.0.2.7"', b"n/1/b"):
        found, damage = find_batches(text, 7, mark)
        assert found == [one for one in read if mark in one.lines or mark in one.source.encode()]
        assert damage == (-1 if len(text) >= HEADER_BYTES else 0)
    later, _ = find_batches(text, 7, b"n/", lambda first, count: first > 50)
    assert later == [one for one in read if one.sequence > 50]
    assert end_of(text, 7) == 7 + sum(one.records for one in read)
    assert first_at_us(text[:HEAD_BYTES]) in (None, *(one.at_us for one in batches[:1]))


def test_batches_before_damage():
    one, other = Batch("n/0/a", 1, 1, 5, b"mark1"), Batch("n/0/a", 2, 1, 5, b"mark2")
    data, _ = segment([one, other, one])
    first_bytes = len(segment([one])[0])
    flipped = data[: first_bytes + 40] + b"~" + data[first_bytes + 41 :]
    assert find_batches(flipped, 0, b"mark") == ([one], first_bytes)
    assert find_batches(data[:first_bytes] + b"\xff" * 8 + b"mark", 0, b"mark") == ([one], first_bytes)
    assert find_batches(data, 9, b"mark") == ([], 0)
    assert end_of(data[:first_bytes] + b"\0" * 100, 0) == 1


@given(st.lists(st.sampled_from([b"a mark", b"none", b"", b"mark mark"])))
def test_lines_with_a_text(lines):
    assert list(lines_with(b"\n".join(lines), b"mark")) == [line for line in lines if b"mark" in line]
