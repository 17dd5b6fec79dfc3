"""The filter on the interfaces of a network namespace: what passes, what is dropped, and what is counted."""

import random
import struct
from ipaddress import ip_address, ip_network

import pytest

from spectrum.core.filter_rules import FilterRule, SetTerm
from spectrum.kernel.filter.attaching import load, remove
from spectrum.kernel.filter.drops import pack_drops, pack_prefixes
from spectrum.kernel.filter.pinned import MAPS, PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings
from spectrum.kernel.filter.tcp_protection import SMALL_TCP_TABLES
from spectrum.kernel.pins import PinError, folder_of
from spectrum.kernel.pins import load as load_program
from tests.kernel.filter.running import run
from tests.kernel.isolation import isolated

PASSES = """
import socket, subprocess, sys
from ipaddress import ip_network
from pathlib import Path
from spectrum.kernel.filter.attaching import load, remove
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings

filesystem = Path(sys.argv[1])
Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")
load(["lo"], filesystem)
one = PinnedFilter(filesystem)
assert one.interfaces() == ["lo"] and one.settings() == FilterSettings() and one.blocked() == {}
sockets = {}
for family, host in ((socket.AF_INET, "127.6.0.1"), (socket.AF_INET6, "fd00::6")):
    sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
    sockets[family].bind((host, 7000))
    sockets[family].settimeout(0.1)

def passes(source, count=1):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    passed = 0
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        for _ in range(count):
            sock.sendto(b"x", sockets[family].getsockname()[:2])
        for _ in range(count):
            try:
                sockets[family].recv(10)
                passed += 1
            except TimeoutError:
                break
    return passed

def nets(*texts):
    return [ip_network(text) for text in texts]

one.guard(nets("127.5.0.9/32"))
lists = {"drop": nets("127.5.0.0/16", "fd00::5:0/112"), "more": nets("127.5.1.0/24", "127.7.0.0/16")}
assert one.block(lists) == (4, 0)
assert one.block(lists) == (0, 0)
assert {name: sorted(map(str, found)) for name, found in one.blocked().items()} == {
    name: sorted(map(str, found)) for name, found in lists.items()}
for source, passed in {"127.4.0.1": 1, "127.5.0.1": 0, "127.5.1.1": 0, "127.7.0.1": 0, "127.5.0.9": 1,
                       "fd00::5:1": 0, "fd00::4:1": 1}.items():
    assert passes(source) == passed, source
counts = {name: packets for name, (packets, _) in one.counts().items()}
assert counts == {"list drop": 2, "list more": 2, "passed": 2, "guarded": 1, "malformed": 0, "too_many": 0,
                  "too_many_syns": 0, "syn_cookies": 0, "samples_lost": 0, "looks_lost": 0}, counts
assert one.counts()["list drop"][1] > 2 * 29

# A dry run counts and drops nothing; lists change at once, and a new one counts from nothing.
one.configure(FilterSettings(dry_run=True))
assert passes("127.5.0.1") == 1 and one.counts()["list drop"][0] == 3
one.configure(FilterSettings())
assert one.block({"drop": nets("127.8.0.0/16")}) == (1, 4)
assert passes("127.5.0.1") == passes("fd00::5:1") == 1 and passes("127.8.0.1") == 0
assert one.block({"other": nets("127.9.0.0/16")})[0] == 1
assert one.counts()["list other"] == (0, 0)

# Guarded by where it is sent to: whatever its source.
one.block({"all": nets("::/0")})
assert passes("127.4.0.1") == 1 and passes("fd00::4:1") == 0
one.block({"all": nets("0.0.0.0/0", "::/0")})
assert passes("127.4.0.1") == 0 and passes("fd00::4:1") == 0
one.guard(nets("127.6.0.0/16", "fd00::6/128"))
assert passes("127.4.0.1") == 1 and passes("fd00::4:1") == 1
one.guard(nets("192.0.2.0/24"))
one.block({})

# Rates, of each IPv4 address and IPv6 /64; replacing the program keeps everything.
one.configure(FilterSettings(1, 5))
assert one.settings() == FilterSettings(1, 5)
load(["lo"], filesystem)
assert passes("127.4.0.1", 20) == 6 and passes("127.4.0.2") == 1
assert passes("fd00::4:1", 20) == 6
assert passes("fd00::4:2", 20) == 0
assert one.counts()["too_many"][0] == 14 + 14 + 20
one.configure(FilterSettings())

# Off an interface, and off them all.
subprocess.run(["ip", "link", "add", "v0.1", "type", "veth", "peer", "v1"], check=True)
one.block({"drop": nets("127.5.0.0/16")})
load(["v0.1"], filesystem)
assert one.interfaces() == ["v0.1"] and passes("127.5.0.1") == 1
load(["v0.1", "lo"], filesystem)
assert passes("127.5.0.1") == 0
assert remove(filesystem) and not remove(filesystem)
assert passes("127.5.0.1") == 1
print("ok")
"""

# Frames as an attacker makes them, over a cable; the far end sees what passes.
FRAMES = """
import socket, struct, subprocess, sys, time
from ipaddress import ip_address, ip_network
from pathlib import Path
from spectrum.kernel.filter.attaching import load
from spectrum.kernel.filter.pinned import PinnedFilter

filesystem = Path(sys.argv[1])
for command in ("ip link add v0 type veth peer v1", "ip link set v0 up", "ip link set v1 up"):
    subprocess.run(command.split(), check=True)
load(["v1"], filesystem)
one = PinnedFilter(filesystem)
one.guard([ip_network("192.0.2.99/32")])
one.block({"bad": [ip_network("198.51.100.0/24"), ip_network("2001:db8:bad::/48")]})
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("v0", 0))
receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
receiver.bind(("v1", 0))
receiver.settimeout(0.15)

def ip4(payload, protocol=17, source="192.0.2.1", ihl=5, length=None, offset=0):
    length = 20 + len(payload) if length is None else length
    return struct.pack("!BBHHHBBH4s4s", 0x40 | ihl, 0, length, 0, offset, 64, protocol, 0,
                       ip_address(source).packed, ip_address("192.0.2.2").packed) + payload

def ip6(payload, protocol=17, source="2001:db8::1"):
    return struct.pack("!IHBB16s16s", 0x60000000, len(payload), protocol, 64,
                       ip_address(source).packed, ip_address("2001:db8::2").packed) + payload

def udp(length=12):
    return struct.pack("!HHHH", 1, 2, length, 0) + b"data"

def tcp(flags, offset=5):
    return struct.pack("!HHIIBBHHH", 1, 2, 0, 0, offset << 4, flags, 0, 0, 0)

def vlan(kind, packet):
    return struct.pack("!HHH", 0x8100, 7, kind) + packet

FIN, SYN, RST, ACK = 1, 2, 4, 16
frames = {
    "udp": (0x0800, ip4(udp()), True),
    "udp, blocked": (0x0800, ip4(udp(), source="198.51.100.7"), False),
    "udp, length too short": (0x0800, ip4(udp(7)), False),
    "udp, cut": (0x0800, ip4(udp()[:6]), False),
    "udp, length too short, guarded": (0x0800, ip4(udp(7), source="192.0.2.99"), True),
    "syn": (0x0800, ip4(tcp(SYN), 6), True),
    "ack": (0x0800, ip4(tcp(ACK), 6), True),
    "syn and fin": (0x0800, ip4(tcp(SYN | FIN), 6), False),
    "syn and rst": (0x0800, ip4(tcp(SYN | RST), 6), False),
    "no flags": (0x0800, ip4(tcp(0), 6), False),
    "data offset too small": (0x0800, ip4(tcp(SYN, 4), 6), False),
    "tcp, cut": (0x0800, ip4(tcp(SYN)[:15], 6), False),
    "header length too small": (0x0800, ip4(udp(), ihl=4), False),
    "total length too small": (0x0800, ip4(udp(), length=19), False),
    "from everybody": (0x0800, ip4(udp(), source="255.255.255.255"), False),
    "options": (0x0800, ip4(b"\\\\1\\\\1\\\\1\\\\0" + udp(), ihl=6), True),
    "options, udp length too short": (0x0800, ip4(b"\\\\1\\\\1\\\\1\\\\0" + udp(7), ihl=6), False),
    "options, blocked": (0x0800, ip4(b"\\\\1\\\\1\\\\1\\\\0" + udp(), ihl=6, source="198.51.100.7"), False),
    "a later fragment": (0x0800, ip4(udp(7), offset=100), True),
    "a first fragment": (0x0800, ip4(udp(7), offset=0x2000), True),
    "a fragment, blocked": (0x0800, ip4(udp(), offset=100, source="198.51.100.7"), False),
    "icmp": (0x0800, ip4(b"\\\\10\\\\0\\\\0\\\\0\\\\0\\\\0\\\\0\\\\0", 1), True),
    "ipv6": (0x86DD, ip6(udp()), True),
    "ipv6, blocked": (0x86DD, ip6(udp(), source="2001:db8:bad::1"), False),
    "ipv6, syn and fin": (0x86DD, ip6(tcp(SYN | FIN), 6), False),
    "ipv6, from a group": (0x86DD, ip6(udp(), source="ff02::1"), False),
    "ipv6, extension": (0x86DD, ip6(bytes(8) + udp(), 60), True),
    "ip, cut": (0x0800, ip4(udp())[:12], True),
    "arp": (0x0806, bytes(28), True),
    "vlan": (None, vlan(0x0800, ip4(udp())), True),
    "vlan, blocked": (None, vlan(0x0800, ip4(udp(), source="198.51.100.7")), False),
    "vlan, ipv6, blocked": (None, vlan(0x86DD, ip6(udp(), source="2001:db8:bad::1")), False),
}
wrong = []
for number, (name, (kind, packet, passes)) in enumerate(frames.items()):
    mark = struct.pack("!I", 0x02000000 | number)  # of a locally administered address
    head = b"\\\\xff" * 6 + mark + b"\\\\0\\\\1" + (struct.pack("!H", kind) if kind else b"")
    sender.send(head + packet)
    seen = False
    try:
        while not seen:
            seen = receiver.recv(2000)[6:10] == mark
    except TimeoutError:
        pass
    if seen != passes:
        wrong.append(name)
assert not wrong, wrong
print("ok")
"""


# Random rules and frames: the program counts for each rule what the rules in Python match.
RULES = """
import random, socket, struct, subprocess, sys, time
from ipaddress import ip_address, ip_network
from pathlib import Path
from spectrum.core.filter_rules import FilterRule, PacketFacts, judged
from spectrum.kernel.filter.attaching import load
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings

filesystem, seed = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
for command in ("sysctl -q net.ipv6.conf.default.disable_ipv6=1", "ip link add v0 type veth peer v1",
                "ip link set v0 up", "ip link set v1 up"):
    subprocess.run(command.split(), check=True)
load(["v1"], filesystem)
one = PinnedFilter(filesystem)
one.guard([ip_network("203.0.113.1/32")])
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind(("v0", 0))

def address(version):
    return ip_address("192.0.2.%d" % chance.randrange(8) if version == 4 else "2001:db8::%x" % chance.randrange(8))

def prefix(version):
    bits = chance.choice([0, 16, 29, 30, 31, 32] if version == 4 else [0, 32, 64, 125, 126, 128])
    return ip_network("%s/%d" % (address(version), bits), strict=False)

def span(highest):
    low = chance.randrange(highest)
    return low, chance.randrange(low, highest)

def maybe(make, otherwise=None):
    return make() if chance.random() < 0.3 else otherwise

def rule():
    version = chance.choice([4, 6])
    return FilterRule(
        maybe(lambda: prefix(version)), maybe(lambda: prefix(version)),
        maybe(lambda: chance.choice([(6, 6), (17, 17), (1, 17)]), (0, 255)),
        maybe(lambda: span(10)), maybe(lambda: span(10)), maybe(lambda: span(100), (0, 65535)),
        maybe(lambda: span(10), (0, 255)), maybe(lambda: (mask := chance.randrange(64), mask & chance.randrange(64))),
        maybe(lambda: chance.random() < 0.5))

def packet():
    version, protocol = chance.choice([4, 6]), chance.choice([1, 6, 6, 17, 17])
    fragment = version == 4 and chance.random() < 0.2
    ports = chance.randrange(10), chance.randrange(10)
    flags = chance.choice([0x02, 0x10, 0x18, 0x11, 0x04, 0x14, 0x20 | 0x10])
    payload = bytes(chance.randrange(60))
    body = struct.pack("!HHIIBBHHH", *ports, 0, 0, 80, flags, 0, 0, 0) if protocol == 6 else (
        struct.pack("!HHHH", *ports, 8 + len(payload), 0) if protocol == 17 else bytes(8))
    body += payload
    ttl, source, target = chance.randrange(1, 10), address(version), address(version)
    if version == 4:
        length = 20 + len(body)
        frame = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0x2000 if fragment else 0, ttl, protocol, 0,
                            source.packed, target.packed) + body
    else:
        length = 40 + len(body)
        frame = struct.pack("!IHBB16s16s", 0x60000000, len(body), protocol, ttl, source.packed, target.packed) + body
    has_ports = protocol != 1
    kind = 0x0800 if version == 4 else 0x86DD
    facts = PacketFacts(source, target, protocol, ports if has_ports else None, length, ttl,
                        flags if has_ports and protocol == 6 else 0, int(fragment))
    return bytes.fromhex("ffffffffffff0200000000001111"[:24]) + struct.pack("!H", kind) + frame, facts

names = [f"r{number}" for number in range(64)]
for size in (1, 3, 10, 64, 0, 5, 20, 64):
    rules = {name: rule() for name in chance.sample(names, size)}
    one.rule(rules)
    before = one.counts()
    wanted = {}
    for _ in range(200):
        frame, facts = packet()
        sender.send(frame)
        first, _ = judged(rules.items(), facts)
        verdict = f"rule {first}" if first else "passed"
        wanted[verdict] = wanted.get(verdict, 0) + 1
    time.sleep(0.05)
    found = {name: packets - before.get(name, (0, 0))[0] for name, (packets, _) in one.counts().items()}
    assert {name: count for name, count in found.items() if count} == wanted, (seed, size, found, wanted)

# Beyond so many a second, of all together; settings that change leave rules alone.
one.rule({"slow": FilterRule(packets_per_second=1, action="limit")})
one.configure(FilterSettings())
before = one.counts()["passed"][0]
for _ in range(20):
    sender.send(packet()[0])
time.sleep(0.05)
assert one.counts()["passed"][0] - before == 1 and one.counts()["rule slow"][0] == 19
try:
    one.rule({f"x{number}": FilterRule() for number in range(65)})
    raise SystemExit("too many rules were taken")
except Exception as exc:
    assert str(exc) == "there are 64 rules at most, and 64 of detection", exc
print("ok")
"""

SYNS = """
import socket, sys, threading
from ipaddress import ip_network
from pathlib import Path
from spectrum.core.filter_rules import FilterRule
from spectrum.kernel.filter.attaching import load
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.filter.settings import FilterSettings

filesystem = Path(sys.argv[1])
load(["lo"], filesystem)
one = PinnedFilter(filesystem)
one.guard([ip_network("203.0.113.1/32")])
settings = FilterSettings(syns_per_second=1, syn_burst=2, syn_cookies=True)
one.configure(settings)
assert one.settings() == settings

def counts():
    return {name: packets for name, (packets, _) in one.counts().items()}

def cookies():
    lines = Path("/proc/net/netstat").read_text().splitlines()
    names, values = [line.split() for line in lines if line.startswith("TcpExt:")]
    return int(values[names.index("SyncookiesRecv")])

sysctl = Path("/proc/sys/net/ipv4/tcp_syncookies")
# While the socket has room for more, they pass.
sysctl.write_text("1")
with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
    for _ in range(10):
        socket.create_connection(server.getsockname(), 3).close()
assert (counts()["syn_cookies"], counts()["too_many_syns"]) == (0, 0)
sysctl.write_text("2")
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    before, known = counts(), cookies()
    server = socket.create_server((host, 0), family=family, backlog=64)
    for _ in range(10):
        with socket.create_connection(server.getsockname()[:2], 3) as client:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"hello" * 1000)
                got = b""
                while len(got) < 5000:
                    got += client.recv(5000)
                client.sendall(b"there")
                assert peer.recv(10) == b"there"
    assert counts()["syn_cookies"] - before["syn_cookies"] == 7, counts()
    assert cookies() - known == 10, "the kernel gives out those of the first three"
    # Nobody listens there: dropped, and so are all without cookies.
    one.configure(FilterSettings(syns_per_second=1, syn_burst=0, syn_cookies=True))
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        for _ in range(2):
            with socket.socket(family) as client:
                client.settimeout(0.1)
                try:
                    client.connect(probe.getsockname()[:2])
                except OSError:
                    pass
    assert counts()["too_many_syns"] - before["too_many_syns"] == 1
    one.configure(FilterSettings(syns_per_second=1, syn_burst=0))
    with socket.socket(family) as client:
        client.settimeout(0.1)
        try:
            client.connect(server.getsockname()[:2])
            raise SystemExit("it passed")
        except TimeoutError:
            pass
    assert counts()["too_many_syns"] - before["too_many_syns"] == 2
    # A rule answers SYNs as the rate does, and has a counter of its own; other packets it leaves alone.
    one.configure(FilterSettings())
    one.rule({"c": FilterRule(action="cookie")})
    for expected in (1, 2):
        with socket.create_connection(server.getsockname()[:2], 3) as client:
            server.accept()[0].close()
        assert counts()["rule c"] == expected, counts()
    sysctl.write_text("1")
    socket.create_connection(server.getsockname()[:2], 3).close()
    assert counts()["rule c"] == 2, "its queue has room, and so it passed"
    sysctl.write_text("2")
    one.rule({})
    one.configure(settings)
    server.close()
print("ok")
"""


def test_rules_against_a_reference(filesystem):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    assert isolated(RULES, filesystem, seed) == "ok\n"


def test_syns(filesystem):
    assert isolated(SYNS, filesystem) == "ok\n"


def test_what_passes(filesystem):
    assert isolated(PASSES, filesystem) == "ok\n"


def test_frames_made_by_hand(filesystem):
    assert isolated(FRAMES.replace("\\\\", "\\"), filesystem) == "ok\n"


def test_invalid_requests(filesystem):
    with pytest.raises(PinError, match="the program is not loaded"):
        PinnedFilter(filesystem)
    with pytest.raises(PinError, match="there is no interface nowhere0"):
        load(["nowhere0"], filesystem)
    load([], filesystem)  # on none of them
    with PinnedFilter(filesystem) as one:
        assert one.interfaces() == []
        with pytest.raises(PinError, match="the name of a list is 1 to 63 bytes"):
            one.block({"x" * 64: [ip_network("192.0.2.0/24")]})
    assert remove(filesystem)


def test_what_is_held_is_read_back_and_undone(filesystem):
    load([], filesystem)
    rule = FilterRule(sets=(SetTerm("ttl", frozenset({7})),))
    before = {
        "file": pack_drops([ip_network("192.0.2.0/24")], {"a": [ip_network("198.51.100.0/24")]}, {"r": rule}),
        "ddos": pack_drops(rules={"flood": FilterRule(ttl=(1, 1)), "more": rule}),
    }
    with PinnedFilter(filesystem) as one:
        one.guard({owner: drops.guard for owner, drops in before.items()})
        one.hold(before)
        held = one.held()
        assert held.keys() == before.keys()
        assert (held["file"].guard, held["file"].lists) == (before["file"].guard, before["file"].lists)
        assert {owner: drops.sets for owner, drops in held.items()} == {
            owner: drops.sets for owner, drops in before.items()
        }
        assert [list(drops.rules) for drops in held.values()] == [["r"], ["flood", "more"]]
    with PinnedFilter(filesystem) as one:
        one.guard({"api": pack_prefixes([ip_network("::1/128")])})
        one.configure(FilterSettings(dry_run=True))
        one.hold({"api": pack_drops(lists={"b": [ip_network("203.0.113.0/24")]}, rules={"x": FilterRule()})})
        assert one.held().keys() == {"api"}
        one.put_back(one.journal)
        assert one.held() == held
        assert one.settings() == FilterSettings()
    assert remove(filesystem)


DROPPED, PASSED = 1, 2


def test_no_rule_reaches_what_is_guarded(filesystem):
    load([], filesystem)
    program = load_program("filter", folder_of(filesystem), MAPS, SMALL_TCP_TABLES)

    def judged(source, target):
        packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 48, 0, 0, 64, 17, 0, source.packed, target.packed)
        packet += struct.pack("!HHHH", 1, 2, 28, 0) + bytes(20)
        return run(program.program("filter"), bytes(12) + struct.pack("!H", 0x0800) + packet)[0]

    manager, edge, other = map(ip_address, ("192.0.2.9", "198.51.100.1", "203.0.113.5"))
    with PinnedFilter(filesystem) as one:
        one.guard([ip_network("192.0.2.0/24")])
        for rule in (FilterRule(), FilterRule(packets_per_second=1, action="limit"), FilterRule(action="retry")):
            one.rule({"r": rule, "ddos/r": rule})
            judged(other, edge)
            assert judged(other, edge) == DROPPED
            assert judged(manager, edge) == judged(edge, manager) == PASSED
        one.rule({"ddos/r": FilterRule()})
        one.configure(FilterSettings(dry_run=True))
        assert judged(other, edge) == PASSED
    program.close()
    assert remove(filesystem)
