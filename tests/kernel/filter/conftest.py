"""The rules of the kernel, run on packets that are facts already."""

import struct
from ipaddress import ip_network
from pathlib import Path

import pytest

from spectrum.kernel.filter.attaching import load, remove
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.libbpf import Map, Object
from spectrum.kernel.pins import folder_of, prefix_key
from tests.kernel.filter.running import compiled, run

# Struct facts.
_FACTS = struct.Struct("=I16sI16sQII5H12B2xQIIII")
_COOKIE = 1 << 31


def facts(packet):
    """Return a packet as the program's parser would have it."""
    from_port, to_port = packet.ports or (0, 0)
    source, target = (prefix_key(ip_network(one))[1] for one in (packet.source, packet.destination))
    key = int.from_bytes(packet.source.packed[:8], "little")
    return _FACTS.pack(
        *(128, source, 128, target, packet.payload, packet.options, 0, from_port, to_port, packet.length),
        *(packet.window, packet.ident, packet.source.version, packet.protocol, packet.ttl, packet.tcp_flags),
        *(packet.fragment, 8, packet.ports is not None, packet.flow is not None, packet.flow or 0),
        *(packet.known, packet.served, 0, key, 0, 64, packet.sequence, packet.acknowledgement),
    )


@pytest.fixture
def matcher(filesystem, tmp_path, require):
    """The rules of the kernel, what renews them, and what runs them on a packet.

    That returns the number of a rule, and whether it has a cookie; its `cost` is how many nanoseconds a run takes.
    """
    require("clang")
    load([], filesystem)
    folder = folder_of(filesystem)
    shared = ("slots", "vectors", "members", "paid", "met", "sources", "counts")
    program = Object(
        compiled(Path(__file__).with_name("matching.bpf.c"), tmp_path),
        {name: folder / f"filter_{name}" for name in shared} | {"now": folder / "filter_now"},
    )
    now, descriptor = Map.pinned(folder / "filter_now", 4, 4), program.program("match")
    with PinnedFilter(filesystem) as one:

        def match(packet):
            found, _ = run(descriptor, facts(packet))
            return (None if not found else found & ~_COOKIE), bool(found & _COOKIE)

        def cost(packet):
            return min(run(descriptor, facts(packet), 20_000)[1] for _ in range(5))

        match.cost = cost

        def renew(rules):
            """Let these be the rules; return their numbers."""
            one.rule(rules)
            now.set(bytes(4), struct.pack("=I", one._program().generation))
            return {name.removeprefix("rule "): number for name, number in one.places().items()}

        yield one, renew, match
    now.close()
    program.close()
    remove(filesystem)
