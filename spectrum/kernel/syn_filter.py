"""Drop SYNs that rules of detection block, before a listening socket takes them: a classic BPF program (socket(7)).

It needs no privilege. The kernel runs the program for what arrives at a listening socket, and so for SYNs, before it
answers them. Accepted sockets inherit it, and keep it (sk_clone_lock in net/core/sock.c); it lets pass everything but
SYNs. One SYN in `PASSED_ONE_IN` passes, so that the worker that refuses it sees how the attack goes on.

Only what the worker would refuse is dropped: of rules with the action `block`, the conditions that can be read from the
headers. It does not know which sources are known, and has no clock: its owner removes it when a rule ends.

The same conditions about datagrams are a part of the program of `engine/strangers.pyx`, which knows the sources in use.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from spectrum.core.filter_rules import ACTIONS, SET_FIELDS, SYN, SYN_MASK
from spectrum.core.packets import PROTOCOLS
from spectrum.kernel.filter.rules import Slot, values_of

_LIBC = ctypes.CDLL(None, use_errno=True)
# linux/include/uapi/asm-generic/socket.h
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
PASSED_ONE_IN = 16
# Of the kernel (BPF_MAXINSNS), for all rules together. Longer programs are also limited by net.core.optmem_max.
MAX_INSTRUCTIONS = 4096
# Of the code about datagrams: engine/strangers.pyx.
MAX_BLOCK_INSTRUCTIONS, DATAGRAMS_PASSED_ONE_IN = 2000, 64
# linux/bpf_common.h, with the address modes ABS and K
LOAD_WORD, LOAD_HALF, LOAD_BYTE, LOAD_LENGTH = 0x20, 0x28, 0x30, 0x80
AND, OR, SHIFT_RIGHT = 0x54, 0x44, 0x74
JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, RETURN = 0x05, 0x15, 0x25, 0x35, 0x06
# linux/filter.h: offsets from the network header, and of what is not in the packet. The data begin at the header of TCP
# or UDP.
NETWORK, RANDOM = 0x100000000 - 0x100000, 0x100000000 - 0x1000 + 56
_DROP, _PASS = 0, 0xFFFFFFFF
_PORTS_AT, _TCP_FLAGS = (0, 2), 13
_UDP_BYTES = 8
_IP_BYTES = {4: 20, 6: 40}
_SOURCE_AT, _DESTINATION_AT = {4: 12, 6: 8}, {4: 16, 6: 24}
_WORDS = {4: 1, 6: 4}
_INSTRUCTION = struct.Struct("HBBI")
_MAPPED = bytes(10) + b"\xff\xff"
_BLOCK, _PREFIXES, _SOURCES = ACTIONS.index("block"), SET_FIELDS.index("source/24"), SET_FIELDS.index("source")
# Of a packet to an app, as kind_of of bpf/matching.h has it, without the version and whether the source is known; of a
# datagram to a flow that exists, but is not in use.
_SERVED, _PORTS, _KNOWN, _SHAKEN = 1 << 6, 1 << 7, 1 << 5, 1 << 3
_TCP, _UDP = PROTOCOLS["tcp"], PROTOCOLS["udp"]

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
Guard = tuple[bytes, bytes]


class BlockRule(NamedTuple):
    """A rule in the filter's form, and the values of its sets."""

    slot: bytes
    sets: Sequence[bytes]


class SynFilter(NamedTuple):
    """A program.

    Attributes:
        instructions: The program.
        rules: The places of the rules that it has, among those that it was made of.
        expires_ns: When the first of these ends, on the monotonic clock; 0 for never.
    """

    instructions: list[Instruction]
    rules: frozenset[int]
    expires_ns: int


class DatagramBlocks(NamedTuple):
    """Code that drops datagrams, for each version of IP; it goes on behind its end with what it does not drop.

    Attributes:
        four: Of IPv4, packed (struct sock_filter).
        six: Of IPv6.
        rules: The places of the rules that it has, among those that it was made of.
        expires_ns: When the first of these ends, on the monotonic clock; 0 for never.
    """

    four: bytes
    six: bytes
    rules: frozenset[int]
    expires_ns: int


def datagram_blocks(rules: Sequence[BlockRule], guard: Iterable[Guard], now_ns: int) -> DatagramBlocks:
    """Return code that drops datagrams as rules say; the arguments are those of `syn_filter`."""
    blocks, taken, expires_ns = _blocks(rules, guard, now_ns, _UDP, MAX_BLOCK_INSTRUCTIONS)
    if not taken:
        return DatagramBlocks(b"", b"", frozenset(), 0)
    return DatagramBlocks(_packed(blocks[4]), _packed(blocks[6]), frozenset(taken), expires_ns)


def syn_filter(rules: Sequence[BlockRule], guard: Iterable[Guard], now_ns: int) -> SynFilter | None:
    """Return the program that drops SYNs as rules say; None if it would drop nothing.

    Rules that it cannot have, or that do not fit, are left to the worker.

    Args:
        rules: The rules in force.
        guard: Addresses and masks of 16 bytes: no SYN from or to these is dropped.
        now_ns: The monotonic clock; rules that have ended are left out.
    """
    blocks, taken, expires_ns = _blocks(rules, guard, now_ns, _TCP, MAX_INSTRUCTIONS - 16)
    if not taken:
        return None
    head = [
        (LOAD_BYTE, 0, 0, _TCP_FLAGS),
        (AND, 0, 0, SYN_MASK),
        (JUMP_EQUAL, 1, 0, SYN),
        (RETURN, 0, 0, _PASS),
        (LOAD_WORD, 0, 0, RANDOM),
        (JUMP_GREATER_EQUAL, 1, 0, (1 << 32) // PASSED_ONE_IN),
        (RETURN, 0, 0, _PASS),
        (LOAD_BYTE, 0, 0, NETWORK),
        (SHIFT_RIGHT, 0, 0, 4),
        (JUMP_EQUAL, 1, 0, 4),
        (JUMP, 0, 0, len(blocks[4]) + 1),
    ]
    passed = (RETURN, 0, 0, _PASS)
    return SynFilter([*head, *blocks[4], passed, *blocks[6], passed], frozenset(taken), expires_ns)


def _blocks(
    rules: Sequence[BlockRule], guard: Iterable[Guard], now_ns: int, protocol: int, room: int
) -> tuple[dict[int, list[Instruction]], set[int], int]:
    """Return code of rules for each version of IP, the places of these rules, and when the first of them ends."""
    guarded = list(guard)
    blocks: dict[int, list[Instruction]] = {
        version: [one for end in (_SOURCE_AT, _DESTINATION_AT) for of in guarded for one in _passing(of, end, version)]
        for version in (4, 6)
    }
    taken: set[int] = set()
    ends: list[int] = []
    room -= sum(map(len, blocks.values()))
    for place, rule in enumerate(rules):
        slot = Slot.unpacked(rule.slot)
        if slot.expires_ns and slot.expires_ns <= now_ns:
            continue
        made = {version: _dropping(slot, rule.sets, version, protocol) for version in (4, 6)}
        size = sum(len(code) for code in made.values() if code)
        if any(code is None for code in made.values()) or not size or size > room:
            continue
        room -= size
        for version, code in made.items():
            blocks[version] += code or ()
        taken.add(place)
        ends += [slot.expires_ns] if slot.expires_ns else []
    return blocks, taken, min(ends, default=0)


def attach(descriptor: int, instructions: Sequence[Instruction]) -> None:
    """Have a listening socket filtered by a program, instead of another one that it may have.

    Raises:
        OSError: If the kernel does not take it.
    """
    code = _packed(instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    _set(descriptor, SO_ATTACH_FILTER, struct.pack("@HP", len(instructions), ctypes.addressof(buffer)))


def _packed(instructions: Iterable[Instruction]) -> bytes:
    return b"".join(_INSTRUCTION.pack(*one) for one in instructions)


def detach(descriptor: int) -> None:
    """Have a socket filtered no longer; nothing happens where it is not."""
    with suppress(FileNotFoundError):
        _set(descriptor, SO_DETACH_FILTER, bytes(4))


def _set(descriptor: int, option: int, value: bytes) -> None:
    """Set an option by descriptor: a socket object would ask the kernel about it first, of thousands of listeners."""
    if _LIBC.setsockopt(descriptor, socket.SOL_SOCKET, option, value, len(value)) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


# --- conditions -------------------------------------------------------------------------------------------------------
# Code of a condition runs on where it holds, and jumps behind the end of the block where it does not. Blocks are made
# from their ends, as jumps lead forward only; a jump on a condition reaches 255 instructions, and one without any.


def _test(load: Sequence[Instruction], jump: int, operand: int, rest: list[Instruction], *, holds: bool = True) -> None:
    """Put a condition before the rest of a block."""
    skips = (1, 0) if holds else (0, 1)
    rest[:0] = [*load, (jump, *skips, operand), (JUMP, 0, 0, len(rest))]


def _passing(guard: Guard, at: dict[int, int], version: int) -> list[Instruction]:
    return _addressed(*guard, at, version, [(RETURN, 0, 0, _PASS)])


def _addressed(
    address: bytes, mask: bytes, at: dict[int, int], version: int, rest: list[Instruction]
) -> list[Instruction]:
    """Return a block for what has an address; an empty one where that is of the other version."""
    if version == 4:
        if any((have ^ want) & bits for have, want, bits in zip(_MAPPED, address, mask, strict=False)):
            return []
        address, mask = address[12:], mask[12:]
    elif mask[:12] == bytes([255]) * 12 and address[:12] == _MAPPED:
        return []
    for word in reversed(range(_WORDS[version])):
        wanted, bits = (int.from_bytes(one[4 * word : 4 * word + 4], "big") for one in (address, mask))
        if bits:
            load = [(LOAD_WORD, 0, 0, NETWORK + at[version] + 4 * word), (AND, 0, 0, bits)]
            _test(load, JUMP_EQUAL, wanted & bits, rest)
    return rest


def _dropping(slot: Slot, sets: Sequence[bytes], version: int, of: int) -> list[Instruction] | None:
    """Return the block of a rule: empty if it matches no SYN or datagram of that version, None if it cannot be here."""
    kind = (version == 6) | _SERVED | _PORTS
    states = (0,) if of == _TCP else (0, _SHAKEN)
    matched = [
        slot.kinds[one >> 3] >> (one & 7) & 1 for state in states for one in (kind | state, kind | state | _KNOWN)
    ]
    ports, others, protocol, lifetimes = slot.ranges[:4], slot.ranges[4:10], slot.ranges[10:12], slot.ranges[12:14]
    unknown = [others[2:4], others[4:], lifetimes, *([others[:2]] if of == _TCP else [])]  # the worker has 0 for them
    if (
        slot.action != _BLOCK
        or not any(matched)
        or slot.options_mask
        or (slot.payload_mask and of == _TCP)
        or any(slot.sequences)
        or (SYN if of == _TCP else 0) & slot.tcp_mask != slot.tcp_flags
        or any(low > 0 for low, _ in unknown)
        or not protocol[0] <= of <= protocol[1]
    ):
        return []
    if not all(matched):
        return None
    rest: list[Instruction] = [(RETURN, 0, 0, _DROP)]
    terms = zip(slot.sets, slot.set_fields, slot.set_negated, strict=True)
    for values, (_, field, negated) in zip(sets, (one for one in terms if one[0]), strict=True):
        if field not in (_PREFIXES, _SOURCES):
            return None
        _member(sorted(values_of(values)), field == _PREFIXES, version, bool(negated), rest)
    if slot.payload_mask and not _begins(slot.payload, slot.payload_mask, rest):
        return None
    if of == _UDP:
        low, high = others[:2]
        more = _IP_BYTES[version]  # the kernel says how long it is from the header of UDP on
        if high < more:
            return []
        _within([(LOAD_LENGTH, 0, 0, 0)], max(0, low - more), high - more if high < 0xFFFF else 0xFFFF, rest)
    for at, (low, high) in zip(_PORTS_AT, (ports[:2], ports[2:]), strict=True):
        _within([(LOAD_HALF, 0, 0, at)], low, high, rest)
    rest = _addressed(slot.destination, slot.destination_mask, _DESTINATION_AT, version, rest)
    return _addressed(slot.source, slot.source_mask, _SOURCE_AT, version, rest) if rest else []


def _within(load: Sequence[Instruction], low: int, high: int, rest: list[Instruction]) -> None:
    """Put before the rest of a block that a number is in a range."""
    if high < 0xFFFF:
        _test(load, JUMP_GREATER, high, rest, holds=False)
    if low > 0:
        _test(load, JUMP_GREATER_EQUAL, low, rest)


def _begins(payload: int, mask: int, rest: list[Instruction]) -> bool:
    """Put before the rest of a block how the payload of a datagram begins; return whether that can be read here.

    Bytes that a datagram lacks are 0 for the worker, and here the program would end.
    """
    wanted, bits = payload.to_bytes(8, "big"), mask.to_bytes(8, "big")
    last = max(place for place in range(8) if bits[place])
    if not wanted[last]:
        return False
    for place in range(last, -1, -1):
        if bits[place]:
            _test([(LOAD_BYTE, 0, 0, _UDP_BYTES + place), (AND, 0, 0, bits[place])], JUMP_EQUAL, wanted[place], rest)
    _test([(LOAD_LENGTH, 0, 0, 0)], JUMP_GREATER, _UDP_BYTES + last, rest)
    return True


# --- sets of sources --------------------------------------------------------------------------------------------------


def _member(values: Sequence[int], is_prefix: bool, version: int, negated: bool, rest: list[Instruction]) -> None:
    """Put before the rest of a block that the source is one of a set; see note_keys of bpf/matching.h."""
    at = NETWORK + _SOURCE_AT[version]
    if version == 4:
        shift = 8 if is_prefix else 0
        tag = 0xFFFF << 32 >> shift
        words = {(one ^ tag) << shift for one in values if one >> 32 - shift == 0xFFFF}
        load = [(LOAD_WORD, 0, 0, at), (AND, 0, 0, 0xFFFFFFFF << shift & 0xFFFFFFFF)]
        code = [*load, *_bisect(sorted(words), {})]
    else:
        code = _six(values, is_prefix, at)
    found: list[Instruction] = [(JUMP, 0, 0, len(rest))] if negated else []
    rest[:0] = [*_resolved(code, len(found) or len(rest)), *found]


def _six(values: Sequence[int], is_prefix: bool, at: int) -> list[Instruction]:
    """Return code for a set of IPv6 /48 or /64: the first word is looked up, then the second one among those with it.

    The highest bit of a value says that it is of IPv6; in a /64 it covers that of the address.
    """
    seconds: dict[int, list[int]] = {}
    mask = 0xFFFF0000 if is_prefix else 0xFFFFFFFF
    for value in (one for one in values if one >> 63):
        whole = (value ^ 1 << 63) << 16 if is_prefix else value
        seconds.setdefault(whole >> 32, []).append(whole & mask)
    load_second = [(LOAD_WORD, 0, 0, at + 4), (AND, 0, 0, mask)]
    inner = {first: [*load_second, *_bisect(sorted(of), {})] for first, of in seconds.items()}
    load = [(LOAD_WORD, 0, 0, at), *([] if is_prefix else [(OR, 0, 0, 1 << 31)])]
    return [*load, *_bisect(sorted(seconds), inner)]


# In place of how far a jump goes, until that is known.
_HIT, _MISS = -1, -2
# Two instructions for each word; by bisection it would be five.
_TRIED_IN_TURN = 8


def _bisect(words: Sequence[int], inner: dict[int, list[Instruction]]) -> list[Instruction]:
    """Return code that finds a word among some, in order, and jumps to `_HIT`, or goes on as `inner` says of it."""
    if not inner and len(words) <= _TRIED_IN_TURN:
        hits = [one for word in words for one in ((JUMP_EQUAL, 0, 1, word), (JUMP, 0, 0, _HIT))]
        return [*hits, (JUMP, 0, 0, _MISS)]
    if not words:
        return [(JUMP, 0, 0, _MISS)]
    if len(words) == 1:
        then = inner.get(words[0], [(JUMP, 0, 0, _HIT)])
        return [(JUMP_EQUAL, 1, 0, words[0]), (JUMP, 0, 0, _MISS), *then]
    middle = len(words) // 2
    low, high = _bisect(words[:middle], inner), _bisect(words[middle:], inner)
    return [(JUMP_GREATER_EQUAL, 0, 1, words[middle]), (JUMP, 0, 0, len(low)), *low, *high]


def _resolved(code: Sequence[Instruction], misses: int) -> list[Instruction]:
    """Return code whose hits continue behind it, and whose misses skip so many instructions more."""
    ways = {_HIT: 0, _MISS: misses}
    return [
        (one, yes, no, len(code) - at - 1 + ways[operand])
        if one == JUMP and operand in ways
        else (one, yes, no, operand)
        for at, (one, yes, no, operand) in enumerate(code)
    ]
