"""What a flow program may consist of: instructions that compute, and nothing else (RFC 9669).

The kernel's verifier ensures that a program ends, and accesses only its own memory. What it allows beyond that is
refused here: helpers, maps, and the packets themselves, which a program of this type could write to.
"""

import struct

MAX_INSTRUCTIONS = 4096
INSTRUCTION = struct.Struct("=BBhi")
WIDE = 0x18  # A 64-bit number, in two instructions.
CALL = 0x85
CALLS_FUNCTION = 1  # Within the same program (BPF_PSEUDO_CALL).
_JUMP, _EXIT = 0x05, 0x95
# Classes of instructions, in the lowest three bits.
_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_MODE, _IN_MEMORY = 0xE0, 0x60
_LAST_ALU = 0xD
# Conditions of jumps, in the highest four bits: all except unconditional jumps, calls and exits.
_COMPARISONS = (*range(1, 8), *range(0xA, 0xE))


class ProgramError(ValueError):
    """Not a valid flow program; the message says why.

    Attributes:
        at: The instruction; None if it is not about one.
    """

    def __init__(self, why: str, at: int | None = None) -> None:
        super().__init__(why)
        self.at = at


def decoded(code: bytes) -> list[tuple[int, int, int, int]]:
    """Return operation, registers, offset and immediate number of each instruction.

    Raises:
        ProgramError: If there are too many, or half ones.
    """
    if not code or len(code) % INSTRUCTION.size:
        raise ProgramError("a program must consist of whole instructions")
    if len(code) > MAX_INSTRUCTIONS * INSTRUCTION.size:
        raise ProgramError(
            f"{len(code) // INSTRUCTION.size:,} instructions, and {MAX_INSTRUCTIONS:,} are the most: unroll less"
        )
    return list(INSTRUCTION.iter_unpack(code))


def check_instructions(code: bytes) -> None:
    """Refuse instructions that do anything but compute.

    Args:
        code: The instructions of the program, with its functions, the first of which is its start.

    Raises:
        ProgramError: If there is such an instruction, or a jump or call into the middle of one.
    """
    instructions = decoded(code)
    seconds = {at + 1 for at, (operation, *_) in enumerate(instructions) if operation == WIDE}
    for at, (operation, registers, offset, number) in enumerate(instructions):
        if at in seconds:
            if operation or registers or offset:
                raise ProgramError("half of a wide number is missing", at)
            continue
        target = _target(operation, registers, offset, number, at)
        if operation == WIDE and at + 1 == len(instructions):
            raise ProgramError("half of a wide number is missing", at)
        if target is not None and (not 0 <= target < len(instructions) or target in seconds):
            raise ProgramError("a jump or call to where there is no instruction", at)


def _target(operation: int, registers: int, offset: int, number: int, at: int) -> int | None:
    """Return the target of an instruction; None for the next one, or a return.

    Raises:
        ProgramError: If it is not allowed.
    """
    kind, action = operation & 7, operation >> 4
    if operation == WIDE and registers >> 4:
        raise ProgramError("it uses a map or a variable that outlives a call; a state is FLOW_PROGRAM_WITH_STATE", at)
    if kind in (_LDX, _ST, _STX) and operation & _MODE != _IN_MEMORY:
        raise ProgramError("atomic operations are not possible", at)
    if operation == CALL and registers >> 4 != CALLS_FUNCTION:
        raise ProgramError(f"it calls the kernel's helper {number}; a program may call its own functions only", at)
    if operation == CALL:
        return at + 1 + number
    if operation == _JUMP or (kind in (_JMP, _JMP32) and action in _COMPARISONS):
        return at + 1 + offset
    if operation in (WIDE, _EXIT) or kind in (_LDX, _ST, _STX) or (kind in (_ALU, _ALU64) and action <= _LAST_ALU):
        return None
    raise ProgramError(f"instruction {operation:#04x} is not allowed", at)
