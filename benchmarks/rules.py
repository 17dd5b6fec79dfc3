"""What rules of the filter cost a packet: the program alone, by BPF_PROG_TEST_RUN, without an interface."""

import struct
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network

from benchmarks.rounds import work_folder
from spectrum.core.filter_rules import FilterRule
from spectrum.kernel.filter import PROGRAM
from spectrum.kernel.filter.attaching import load
from spectrum.kernel.filter.pinned import MAPS, PinnedFilter
from spectrum.kernel.filter.tcp_protection import SMALL_TCP_TABLES
from spectrum.kernel.pins import folder_of
from spectrum.kernel.pins import load as load_program
from tests.kernel.filter.running import run

COUNTS = (0, 1, 16, 64, 128)
_RUNS, _TIMES = 200_000, 5
# How rules of a kind are made, and the source and the port of a packet that one of them drops.
_KINDS: dict[str, tuple[Callable[[int], FilterRule], Callable[[int], tuple[str, int]]]] = {
    "source port": (
        lambda n: FilterRule(protocol=(17, 17), source_port=(100 + n, 100 + n), length=(28, 1500)),
        lambda n: ("198.18.0.9", 100 + n),
    ),
    "source": (
        lambda n: FilterRule(ip_network(f"10.{n}.{n * 7 % 256}.0/24"), protocol=(17, 17)),
        lambda n: (f"10.{n}.{n * 7 % 256}.9", 4000),
    ),
    "ranges": (
        lambda n: FilterRule(length=(28 + n // 2, 1500), ttl=(50 - n // 4, 60 + n), source_port=(100 + n, 103 + n)),
        lambda n: ("198.18.0.9", 103 + n),
    ),
}


def _frame(source: str, port: int) -> bytes:
    udp = struct.pack("!HHHH", port, 7000, 108, 0) + bytes(range(100))
    addresses = ip_address(source).packed, ip_address("192.0.2.2").packed
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 60, 0, 57, 17, 0, *addresses)
    return bytes(12) + b"\x08\x00" + ip + udp


def measure() -> Iterator[tuple[str, int, int, int]]:
    """Yield by kind and number of rules what a packet costs, in ns: one that none matches, one that the last drops."""
    with work_folder("rules") as folder:
        filesystem = folder / "bpf"
        filesystem.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", filesystem], check=True)
        try:
            load([], filesystem)
            program = load_program(PROGRAM, folder_of(filesystem), MAPS, SMALL_TCP_TABLES)

            def cost(source: str, port: int) -> int:
                frame = _frame(source, port)
                return min(run(program.program("filter"), frame, _RUNS)[1] for _ in range(_TIMES))

            with PinnedFilter(filesystem) as one:
                for kind, (make, matched) in _KINDS.items():
                    for count in COUNTS:
                        one.rule({f"{'ddos/' * (n >= 64)}{n}": make(n) for n in range(count)})
                        yield kind, count, cost("198.18.0.9", 4000), cost(*matched(max(count - 1, 0)))
            program.close()
        finally:
            subprocess.run(["umount", filesystem], check=True)
