"""Names of lists and rules with their owners, and further counters of the filter: bpf/counts.h."""

import struct

from spectrum.core.packets import SLOTS
from spectrum.kernel.pins import PinError

MAX_LISTS = 1024
MAX_NAME_BYTES = 63
# Owners of lists and rules. A change of one owner does not affect those of others. A prefix on lists of two owners is
# counted for the first of them. Names of lists and rules begin with their owner, except the file's: "ddos/NAME".
OWNERS = ("file", "api", "ddos")
# Owners of automatic rules: these follow all other rules, in slots of their own.
AUTOMATIC = "ddos"
# Other results, in the order of their counters, after those of lists; the counters of rules follow these.
OTHERS = ("passed", "guarded", "malformed", "too_many", "too_many_syns", "syn_cookies", "samples_lost", "looks_lost")
FIRST_RULE = MAX_LISTS + len(OTHERS)
# Counters of Advanced TCP protection, after those of rules: packets that were dropped or answered, that would have been
# without monitoring, and that passed because they were few; by Cloudflare's reasons.
TCP_REASONS = (
    "unexpected",
    "challenge_needed",
    "challenge_passed",
    "not_found",
    "out_of_sequence",
    "already_closed",
)
TCP_RESULTS = ("tcp_dropped", "tcp_monitored", "tcp_passed")
FIRST_TCP = FIRST_RULE + SLOTS
# Counters of flow programs follow, by the number of the program.
MAX_PROGRAMS = 16
FLOW_RESULTS = ("flow_passed", "flow_monitored", "flow_dropped")
FIRST_FLOW = FIRST_TCP + len(TCP_RESULTS) * len(TCP_REASONS)
COUNTERS = FIRST_FLOW + len(FLOW_RESULTS) * MAX_PROGRAMS

_NAME = struct.Struct("=64s")
NAME_BYTES = _NAME.size


def full_name(owner: str, name: str) -> str:
    """Return the name of an owner's list or rule in the program."""
    return name if owner == OWNERS[0] else f"{owner}/{name}"


def owned(name: str) -> tuple[str, str]:
    """Return the owner of a list or rule, and its name without the owner."""
    owner, slash, own = name.partition("/")
    return (owner, own) if slash and owner in OWNERS[1:] else (OWNERS[0], name)


def packed_name(name: str) -> bytes:
    """Return a name in the form of a key of the maps.

    Raises:
        PinError: If it is empty, or too long.
    """
    encoded = name.encode()
    if not 0 < len(encoded) <= MAX_NAME_BYTES:
        raise PinError(f"the name of a list is 1 to {MAX_NAME_BYTES} bytes: {name!r}")
    return _NAME.pack(encoded)


def unpacked_name(key: bytes) -> str:
    """Return the name of a key."""
    return key.rstrip(b"\0").decode()
