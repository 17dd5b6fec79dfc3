import msgspec
import numpy as np
import pytest

from spectrum.core.ddos.packets import COLUMNS
from spectrum.core.ddos.profile import Profile
from spectrum.core.ddos.profile_file import COLUMN_TYPES, decode_profile, encode_profile
from spectrum.core.ddos.profile_header import ProfileFileError, ReservoirHeader, read_header, with_header
from spectrum.simulation.normal import GAME, normal
from tests.core.ddos.mix import learned


def encoded():
    _, profile = learned()
    memory = profile.memory_of(GAME, 1_000.0)
    return memory, encode_profile("game", "there", memory, [], 7.0, profile.certainty_of(GAME, 1_000.0))


def test_a_profile_is_the_same_after_a_restart():
    memory, data = encoded()
    header, again = decode_profile(data)
    assert (header.app, header.serves, header.saved, header.known_rate) == ("game", "there", 1_000.0, 7.0)
    assert header.unseen == pytest.approx(3 / len(memory.rows)) and (header.oldest, header.newest) == (0.0, 9.75)
    for one, other in (
        (memory.rows.day, again.rows.day),
        (memory.rows.week, again.rows.week),
        (memory.rows.used, again.rows.used),
    ):
        assert len(one.rows) == len(other.rows) > 0 and one.memory_s == other.memory_s
        assert one.at.tolist() == other.at.tolist()
        for name, kind in COLUMNS.items():
            assert one.rows[name].tolist() == other.rows[name].tolist() and other.rows[name].dtype == kind
    assert again.rates.tolist() == memory.rates.tolist() and again.rows.learned_s == memory.rows.learned_s


def test_what_a_version_before_did_not_keep_is_zero():
    memory, data = encoded()
    header, rows = read_header(data)
    packed, former, begin = bytes(rows), b"", 0
    for one in header.reservoirs:
        for name, kind in header.columns:
            end = begin + one.rows * np.dtype(kind).itemsize
            former += packed[begin:end] if name not in ("sequence", "acknowledgement") else b""
            begin = end
    columns = tuple(one for one in header.columns if one[0] not in ("sequence", "acknowledgement"))
    _, again = decode_profile(with_header(msgspec.structs.replace(header, columns=columns), former))
    for one, other in ((memory.rows.day, again.rows.day), (memory.rows.used, again.rows.used)):
        assert one.at.tolist() == other.at.tolist() and one.rows["payload"].tolist() == other.rows["payload"].tolist()
        assert len(other.rows["sequence"]) == len(one.rows) and not other.rows["sequence"].any()


def test_it_is_learned_on_after_a_restart():
    """Columns that were read are not to be those of the file, which cannot be changed."""
    _, data = encoded()
    world, _ = learned()
    profile = Profile(2)
    profile.recall(GAME, decode_profile(data)[1], 1_000.0)
    for look in range(4):
        profile.learn(normal(world, 0.25, 100), 0.25, 1_000.0 + look)
    assert len(profile.normal.packets) > 0 and np.isfinite(profile.rate)


@pytest.mark.parametrize(
    "changed",
    [
        {"columns": (("version", "<u2"),)},
        {"columns": (("version", "|u1"),)},
        {"columns": (*COLUMN_TYPES, ("colour", "|u1"))},
        {"reservoirs": (ReservoirHeader("day", 1),)},
        {"reservoirs": tuple(ReservoirHeader(name, 1) for name in ("day", "week", "used"))},
        {"reservoirs": tuple(ReservoirHeader(name, -1) for name in ("day", "week", "used"))},
    ],
)
def test_rows_that_are_not_what_the_header_says(changed):
    _, data = encoded()
    header, rows = read_header(data)
    with pytest.raises(ProfileFileError):
        decode_profile(with_header(msgspec.structs.replace(header, **changed), bytes(rows)))
