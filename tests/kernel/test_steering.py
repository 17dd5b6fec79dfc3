"""The program in the kernel, with groups of real sockets: is it even, and does it stay where it can?"""

import random
import socket
from collections import Counter

import pytest

from spectrum.core.placement import placement
from spectrum.kernel.sockets import open_listeners
from spectrum.kernel.steering import place_datagrams, placement_program

CLIENTS = 400
KEY = 0xC0FFEE01


def chosen(port, host, target, workers, table, ports):
    """Open a group, send from each port of `ports`, return which socket each arrived at."""
    group = open_listeners(host, port, workers, "udp")
    if table is not None:
        place_datagrams(group[0], table, KEY)
    found = {}
    for source in ports:
        with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((target, source))
            client.sendto(b"x", (target, port))
    for number, sock in enumerate(group):
        while True:
            try:
                found[sock.recvfrom(10)[1][1]] = number
            except BlockingIOError:
                break
        sock.close()
    assert len(found) == len(ports)
    return found


@pytest.mark.parametrize(
    ("host", "target"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("", "127.0.0.1"), ("", "::1")]
)
def test_clients_are_spread_and_few_move(free_port, host, target):
    port = free_port()
    ports = random.Random(1).sample([source for source in range(20_000, 30_000) if source != port], CLIENTS)
    groups = {n: chosen(port, host, target, n, placement(n), ports) for n in (2, 3, 4)}
    for workers, found in groups.items():
        counts = Counter(found.values())
        assert set(counts) == set(range(workers))
        assert min(counts.values()) > CLIENTS / workers * 0.6
    for workers in (2, 3):
        moved = [source for source in ports if groups[workers][source] != groups[workers + 1][source]]
        # A fair share goes to the new socket, and nobody goes anywhere else.
        assert {groups[workers + 1][source] for source in moved} == {workers}
        assert len(moved) < CLIENTS / (workers + 1) * 1.4


def test_programs_fit_the_kernel_at_every_size(free_port):
    port = free_port()
    group = open_listeners("127.0.0.1", port, 2, "udp")
    for workers in (1, 2, 5, 64, 256):
        table = placement(workers)
        assert len(placement_program(table, KEY)) < 4096  # BPF_MAXINSNS
        place_datagrams(group[0], table, KEY)
    for sock in group:
        sock.close()


def test_a_table_that_the_kernel_refuses_is_an_error():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock, pytest.raises(OSError, match="Errno"):
        place_datagrams(sock, list(range(4096)), KEY)
