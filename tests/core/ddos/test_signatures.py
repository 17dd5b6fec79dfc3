import pytest

from spectrum.core.ddos.signatures import MAX_OPTIONS, option_signature

MSS = bytes([2, 4, 5, 180])
SACK, TIMES, SCALE = bytes([4, 2]), bytes([8, 10, *range(8)]), bytes([3, 3, 7])
LINUX = MSS + SACK + TIMES + b"\1" + SCALE
WINDOWS = MSS + b"\1" + bytes([3, 3, 8]) + b"\1\1" + SACK


def test_values_of_options_but_the_mss_make_no_difference():
    assert option_signature(LINUX) == option_signature(
        MSS + SACK + bytes([8, 10, *[255] * 8]) + b"\1" + bytes([3, 3, 14])
    )
    assert option_signature(LINUX) != option_signature(bytes([2, 4, 5, 100]) + LINUX[4:])


def test_kinds_and_order_do():
    seen = [LINUX, WINDOWS, b"", MSS, MSS + b"\0\0\0\0", b"\1\1" + TIMES, TIMES + b"\1\1", b"\1" * 3, b"\1" * 4]
    assert len({option_signature(one) for one in seen}) == len(seen)


@pytest.mark.parametrize(
    ("options", "same"),
    [
        (MSS + b"\0\7\7\7", MSS + b"\0"),  # behind the end of the list
        (MSS + bytes([5]), MSS + bytes([5, 1])),  # cut off, or a length that cannot be
        (bytes([2, 4, 5]), bytes([2])),  # an MSS that is cut off
        (b"\1" * 40, b"\1" * MAX_OPTIONS),
        (bytes([254, 40]) + bytes(38), bytes([254, 2])),
    ],
)
def test_what_is_not_looked_at(options, same):
    assert option_signature(options) == option_signature(same)


def test_as_the_program_has_it_for_timestamps_alone():
    assert option_signature(b"\1\1" + TIMES) == 0x39CCCB6D
    assert option_signature(b"") == 0
