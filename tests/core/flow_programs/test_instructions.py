"""What a flow program may consist of, instruction by instruction (RFC 9669)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.flow_programs.instructions import (
    INSTRUCTION,
    MAX_INSTRUCTIONS,
    ProgramError,
    check_instructions,
)

EXIT = (0x95, 0, 0, 0)
ZERO = (0xB7, 0, 0, 0)


def packed(*instructions):
    return b"".join(INSTRUCTION.pack(*one) for one in instructions)


@pytest.mark.parametrize(
    "instructions",
    [
        [ZERO],
        [(0x61, 0x10, 52, 0)],  # r0 = *(u32 *)(r1 + 52)
        [(0x7B, 0x1A, -8, 0), (0x62, 0x0A, -16, 7)],  # stores to the stack
        [(0x18, 0, 0, -1), (0, 0, 0, 5)],  # a wide number
        [(0x15, 0x01, 1, 0), ZERO],  # a jump over one
        [(0x1E, 0x21, 0, 0)],  # of 32 bits
        [(0x05, 0, 0, 0)],
        [(0x85, 0x10, 0, 1), EXIT, ZERO],  # its own function
        [(0xDC, 0, 0, 16)],  # a change of byte order
    ],
    ids=lambda some: f"{some[0][0]:#04x}",
)
def test_what_computes(instructions):
    check_instructions(packed(*instructions, EXIT))


@pytest.mark.parametrize(
    ("instructions", "at", "why"),
    [
        ([(0x85, 0, 0, 1)], 0, "helper 1"),
        ([ZERO, (0x85, 0, 0, 12)], 1, "helper 12"),
        ([(0x85, 0x20, 0, 44)], 0, "helper 44"),  # a function of the kernel's
        ([(0x8D, 0, 0, 0)], 0, "0x8d"),  # a call by register
        ([(0x86, 0, 0, 0)], 0, "0x86"),
        ([(0x96, 0, 0, 0)], 0, "0x96"),
        ([(0x06, 0, 0, 0)], 0, "0x06"),
        ([(0x9D, 0, 0, 0)], 0, "0x9d"),
        ([(0x18, 0x11, 0, 3), (0, 0, 0, 0)], 0, "a map"),
        ([(0x18, 0x21, 0, 3), (0, 0, 0, 0)], 0, "a variable"),
        ([(0x18, 0x01, 0, 3), (0, 0x10, 0, 0)], 1, "half"),
        ([(0xDB, 0x1A, -8, 0)], 0, "atomic"),
        ([(0xC3, 0x1A, -8, 0)], 0, "atomic"),
        ([(0x20, 0, 0, 0)], 0, "0x20"),  # the packet, as by classic BPF
        ([(0x40, 0, 0, 0)], 0, "0x40"),
        ([(0xE7, 0, 0, 0)], 0, "0xe7"),
        ([(0x05, 0, 7, 0)], 0, "no instruction"),
        ([(0x15, 0, -2, 0)], 0, "no instruction"),
        ([(0x85, 0x10, 0, -2)], 0, "no instruction"),
        ([(0x05, 0, 1, 0), (0x18, 0, 0, 0), (0, 0, 0, 0)], 0, "no instruction"),
    ],
)
def test_what_does_anything_else(instructions, at, why):
    with pytest.raises(ProgramError, match=why) as caught:
        check_instructions(packed(*instructions, EXIT))
    assert caught.value.at == at


def test_sizes():
    check_instructions(packed(*[ZERO] * (MAX_INSTRUCTIONS - 1), EXIT))
    for code, why in (
        (b"", "whole"),
        (packed(EXIT) + b"\0", "whole"),
        (packed(*[ZERO] * MAX_INSTRUCTIONS, EXIT), "unroll less"),
        (packed((0x18, 0, 0, 0)), "half"),
    ):
        with pytest.raises(ProgramError, match=why):
            check_instructions(code)


@given(st.binary(min_size=8, max_size=400))
def test_noise_is_refused_or_harmless(data):
    code = data[: len(data) // 8 * 8]
    try:
        check_instructions(code)
    except ProgramError:
        return
    for operation, registers, _, _ in INSTRUCTION.iter_unpack(code):
        assert operation != 0x85 or registers >> 4 == 1
        assert operation != 0x18 or registers >> 4 == 0
