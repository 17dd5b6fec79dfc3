"""Choose the socket of a SO_REUSEPORT group by client: a classic BPF program per group (socket(7)).

Without one, the kernel scales a hash to the number of sockets, and every second client moves when that number changes.
"""

import ctypes
import socket
import struct
from collections.abc import Sequence
from functools import lru_cache

# linux/include/uapi/asm-generic/socket.h
SO_ATTACH_REUSEPORT_CBPF = 51
# linux/filter.h: offsets below this are from the network header; the data of a UDP program begin at the payload.
_NETWORK = 0x100000000 - 0x100000
# linux/bpf_common.h
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_STORE, _LOAD_X_FROM_MEMORY, _COPY_TO_X = 0x02, 0x61, 0x07
_XOR_X, _MULTIPLY, _SHIFT_RIGHT = 0xAC, 0x24, 0x74
_JUMP, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x05, 0x15, 0x35, 0x06

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
_INSTRUCTION = struct.Struct("HBBI")


def place_datagrams(sock: socket.socket, table: Sequence[int], key: int) -> None:
    """Make the group of a bound UDP socket choose by client address and port: socket number `table[bucket]`.

    Args:
        sock: Any socket of the group. Its members are numbered in the order in which they were bound.
        table: The number of a socket for each bucket; its length is a power of two, 256 at most.
        key: 32 secret bits, so that clients cannot choose their socket. The socket of a flow stays the same as long as
            the key does.

    Raises:
        OSError: If the kernel refuses the program.
    """
    code = _assembled(tuple(table), key)
    buffer = ctypes.create_string_buffer(code, len(code))
    descriptor = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, descriptor)


@lru_cache(maxsize=16)
def _assembled(table: tuple[int, ...], key: int) -> bytes:
    """Return the program's code; thousands of groups share it."""
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in placement_program(table, key))


def placement_program(table: Sequence[int], key: int) -> list[Instruction]:
    """Return the program: hash source address and port, keep as many bits as `table` needs, and bisect."""
    bits = (len(table) - 1).bit_length()
    ipv4 = [(_LOAD_HALF, 0, 0, _NETWORK + 20), (_STORE, 0, 0, 0), (_LOAD_WORD, 0, 0, _NETWORK + 12)]
    ipv6 = [(_LOAD_HALF, 0, 0, _NETWORK + 40), (_STORE, 0, 0, 0), (_LOAD_WORD, 0, 0, _NETWORK + 8)]
    for offset in (12, 16, 20):
        ipv6 += [
            (_MULTIPLY, 0, 0, key | 1),
            (_COPY_TO_X, 0, 0, 0),
            (_LOAD_WORD, 0, 0, _NETWORK + offset),
            (_XOR_X, 0, 0, 0),
        ]
    ipv6.append((_JUMP, 0, 0, len(ipv4)))
    return [
        (_LOAD_BYTE, 0, 0, _NETWORK),
        (_SHIFT_RIGHT, 0, 0, 4),
        (_JUMP_EQUAL, 0, len(ipv6), 6),
        *ipv6,
        *ipv4,
        # Odd factors; the product's highest bits depend on every bit below (Knuth's multiplicative hashing).
        (_MULTIPLY, 0, 0, key | 1),
        (_LOAD_X_FROM_MEMORY, 0, 0, 0),
        (_XOR_X, 0, 0, 0),
        (_MULTIPLY, 0, 0, 0x9E3779B1),
        (_SHIFT_RIGHT, 0, 0, 32 - bits) if bits else (_MULTIPLY, 0, 0, 0),
        *_bisect(table, 0),
    ]


def _bisect(table: Sequence[int], first: int) -> list[Instruction]:
    """Return the decision for the buckets from `first` on. A conditional jump reaches at most 255 instructions."""
    if len(set(table)) == 1:
        return [(_RETURN, 0, 0, table[0])]
    middle = len(table) // 2
    low, high = _bisect(table[:middle], first), _bisect(table[middle:], first + middle)
    return [(_JUMP_GREATER_EQUAL, 0, 1, first + middle), (_JUMP, 0, 0, len(low)), *low, *high]
