"""What the filter's rules know of packets, against those who define it."""

import re
import socket
from pathlib import Path

from spectrum.core.packets import MAX_RULES, PROTOCOLS, TCP_FLAGS

PROGRAM = Path(__file__).parents[2] / "spectrum" / "kernel" / "bpf" / "counts.h"


def test_protocols_are_those_of_iana():
    assert PROTOCOLS["tcp"] == socket.IPPROTO_TCP
    assert PROTOCOLS["icmpv6"] == socket.IPPROTO_ICMPV6
    assert PROTOCOLS["sctp"] == socket.IPPROTO_SCTP


def test_each_flag_is_a_bit():
    assert sorted(TCP_FLAGS.values()) == [1 << bit for bit in range(8)]


def test_the_program_has_as_many_rules():
    assert re.search(r"#define MAX_RULES (\d+)", PROGRAM.read_text())[1] == str(MAX_RULES)
