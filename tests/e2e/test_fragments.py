"""Datagrams that do not fit the path to an origin, over cables between hosts: fragmented on, or refused and told."""

import json
import socket
import sys

import pytest

from spectrum.cli.client import ask
from spectrum.wire import simple_proxy
from tests.e2e.hosts import edge
from tests.engine.harness import eventually

# Answers with how much came, as long as was asked for; whatever header came before, or comes with, the datagram.
ORIGIN = """
import select, socket, struct, sys
socks = []
for family, host in ((socket.AF_INET, "10.231.2.2"), (socket.AF_INET6, "fd00:2::2")):
    socks.append(socket.socket(family, socket.SOCK_DGRAM))
    socks[-1].bind((host, 7100))
print("ready", flush=True)
while True:
    for sock in select.select(socks, [], [])[0]:
        data, peer = sock.recvfrom(65536)
        header = data[:38] if data[:2] == b"\\x56\\xec" else b""
        body = data[28 if data[:4] == b"\\r\\n\\r\\n" else len(header):]
        answer = struct.pack("!H", len(body)) + bytes(struct.unpack("!H", body[:2])[0])
        sock.sendto(header + answer, peer)
"""

# Each datagram up to three times: at which time its answer came, or why it never did, and the path's MTU by then.
CLIENT = """
import errno, json, socket, struct, sys
def exchange(host, port, discovery, header, sizes, answer):
    ipv6 = ":" in host
    with socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        level = socket.IPPROTO_IPV6 if ipv6 else socket.IPPROTO_IP
        sock.setsockopt(level, 23 if ipv6 else 10, discovery)  # IPV6_MTU_DISCOVER, IP_MTU_DISCOVER
        sock.settimeout(0.15)
        sock.connect((host, port))
        told = []
        for size in sizes:
            told.append("nothing")
            for time in (1, 2, 3):
                try:
                    sock.send(bytes.fromhex(header) + struct.pack("!H", answer) + bytes(size - 2))
                    got = sock.recv(65536)[len(header) // 2:]
                    assert (struct.unpack("!H", got[:2])[0], len(got)) == (size, 2 + answer)
                    told[-1] = time
                    break
                except TimeoutError:
                    pass
                except OSError as exc:
                    told[-1] = errno.errorcode[exc.errno]
        return told, sock.getsockopt(level, 24 if ipv6 else 14)
print(json.dumps([exchange(*one) for one in json.loads(sys.argv[1])]))
"""

NEVER, USUALLY, ALWAYS = 0, 1, 2  # whether a client forbids fragments on the way: IP_PMTUDISC_DONT, WANT and DO
PORTS = {"plain": 7000, "simple": 7001, "each": 7002, "whole": 7003, "told": 7004}
HEADER = simple_proxy.pack(socket.inet_aton("192.0.2.1"), socket.inet_aton("10.231.1.1"), 5000, 7004)


@pytest.fixture
def place(hosts, start, tmp_path, filesystem):
    """The way to the origin takes 1,400 bytes, the way to the client 1,500; returns the control socket."""

    def begin(offload):
        hosts.ip("e", "link", "set", "e2a", "mtu", 1400)
        hosts.ip("o", "link", "set", "e2b", "mtu", 1400)
        start("o", sys.executable, "-c", ORIGIN)
        eventually(lambda: "ready" in start.printed(), 10, start.printed)
        more = {
            "plain": "",
            "simple": ", proxy_protocol: simple",
            "each": ", proxy_protocol: v2, proxy_header_datagram: each",
            "whole": ", fragments: drop",
            "told": ", accept_proxy_protocol: {from: ['::/0', 0.0.0.0/0]}",
        }
        text = f"kernel: {{bpffs: {filesystem}}}\nudp_offload: {offload}\nworkers: 1\napps:\n"
        for name, options in more.items():
            for family, near, far in (("4", "10.231.1.1", "10.231.2.2"), ("6", "'fd00:1::1'", "[fd00:2::2]")):
                text += f"  {name}{family}: {{protocol: udp/{PORTS[name]}, edge_ips: [{near}]{options}, "
                text += f"origin_direct: ['udp://{far}:7100']}}\n"
        return edge(start, tmp_path, text)

    return begin


def exchange(hosts, *flows):
    """For each (app, family, what the client forbids, sizes, answer): at which time each was answered; the MTU."""
    asked = [
        (
            "10.231.1.1" if family == 4 else "fd00:1::1",
            PORTS[app],
            forbids,
            HEADER.hex() if app == "told" else "",
            sizes,
            answer,
        )
        for app, family, forbids, sizes, answer in flows
    ]
    return [(times, mtu) for times, mtu in json.loads(hosts.python("c", CLIENT, json.dumps(asked)))]


def drops(control):
    return {app["name"]: app["datagrams_dropped"] for app in ask(control, "GET", "/status")["apps"]}


# What goes through whole; then what a client with a link of 1,500 sends whole; then what it sends in fragments.
FITS, WHOLE, PIECES = [100, 1300], [1373, 1472], [1473, 2000, 8000, 60000]
FITS_6, WHOLE_6, PIECES_6 = [100, 1280], [1353, 1452], [1453, 2000, 8000, 60000]


@pytest.mark.parametrize("offload", ["false", "true"])
def test_datagrams_that_may_be_fragmented_arrive(hosts, place, offload):
    control = place(offload)
    sizes, sizes_6 = [*FITS, *WHOLE, *PIECES], [*FITS_6, *WHOLE_6, *PIECES_6]
    found = exchange(hosts, *((app, 4, NEVER, sizes, 0) for app in ("plain", "simple", "each", "told")))
    assert [times for times, _ in found] == [[1] * len(sizes)] * 4
    assert set(map(str, drops(control).values())) == {"{}"}
    # Answers, too: in fragments to the edge, and from there.
    flows = [(app, family, NEVER, [100] * 4, 8000) for app in ("plain", "simple") for family in (4, 6)]
    assert [times for times, _ in exchange(hosts, *flows)] == [[1] * 4] * 4
    # Linux forbids it for what it can send whole. It is told of the path, and then sends fragments.
    for app, family, asked in (
        ("plain", 4, sizes),
        ("simple", 4, sizes),
        ("plain", 6, sizes_6),
        ("simple", 6, sizes_6),
    ):
        (times, _), *_ = exchange(hosts, (app, family, USUALLY, asked, 0))
        assert times[0] == 1
        assert set(times) <= {1, 2, 3}, (app, family, times)
        assert times[-len(PIECES) :] == [1] * len(PIECES)


@pytest.mark.parametrize("offload", ["false", "true"])
def test_other_datagrams_are_dropped_and_answered_by_icmp(hosts, place, offload):
    control = place(offload)
    # A host remembers the least that it is told for an address, so the longest comes first. A proxy in front is told of
    # its own datagrams, with the header that is taken off here.
    asked = {
        ("told", 4): (1372, 1372 + 28 + 38),
        ("plain", 4): (1372, 1400),
        ("each", 4): (1344, 1400 - 28),
        ("simple", 4): (1334, 1400 - 38),
        ("told", 6): (1352, 1352 + 48 + 38),
        ("plain", 6): (1352, 1400),
        ("simple", 6): (1314, 1400 - 38),
    }
    found = exchange(
        hosts, *((*which, ALWAYS, [100, longest, longest + 1, 1400], 0) for which, (longest, _) in asked.items())
    )
    assert found == [([1, 1, "EMSGSIZE", "EMSGSIZE"], mtu) for _, mtu in asked.values()]
    counts = drops(control)
    assert all(counts[name].keys() == {"too_big"} for name in ("plain4", "simple4", "plain6", "simple6"))


def test_an_app_that_takes_no_fragments(hosts, place):
    control = place("false")
    for family, fits in ((4, FITS), (6, FITS_6)):
        (times, _), (answers, _), (afresh, _) = exchange(
            hosts,
            ("whole", family, NEVER, [*fits, 2000], 0),
            ("whole", family, NEVER, [100], 8000),
            ("whole", family, NEVER, [101], 0),
        )
        assert (times, answers, afresh) == ([1, 1, "nothing"], ["nothing"], [1])
        assert drops(control)[f"whole{family}"] == {"fragmented": 3, "too_big": 3}
