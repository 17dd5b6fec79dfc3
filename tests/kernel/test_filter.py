"""The filter on the interfaces of a network namespace: what passes, what is dropped, and what is counted."""

from ipaddress import ip_network

import pytest

from spectrum.kernel.filter import Filter, load, remove
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import isolated

PASSES = """
import socket, subprocess, sys
from ipaddress import ip_network
from pathlib import Path
from spectrum.kernel.filter import Filter, FilterSettings, load, remove

filesystem = Path(sys.argv[1])
Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")
load(["lo"], filesystem)
one = Filter(filesystem)
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
assert counts == {"list drop": 2, "list more": 2, "passed": 2, "guarded": 1, "malformed": 0, "too_many": 0}, counts
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
from spectrum.kernel.filter import Filter, load

filesystem = Path(sys.argv[1])
for command in ("ip link add v0 type veth peer v1", "ip link set v0 up", "ip link set v1 up"):
    subprocess.run(command.split(), check=True)
load(["v1"], filesystem)
one = Filter(filesystem)
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
    "options": (0x0800, ip4(b"\\\\1\\\\1\\\\1\\\\0" + udp(7), ihl=6), True),
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


def test_what_passes(filesystem):
    assert isolated(PASSES, filesystem) == "ok\n"


def test_frames_made_by_hand(filesystem):
    assert isolated(FRAMES.replace("\\\\", "\\"), filesystem) == "ok\n"


def test_what_can_not_be(filesystem):
    with pytest.raises(PinError, match="the program is not loaded"):
        Filter(filesystem)
    with pytest.raises(PinError, match="there is no interface nowhere0"):
        load(["nowhere0"], filesystem)
    load([], filesystem)  # on none of them
    with Filter(filesystem) as one:
        assert one.interfaces() == []
        with pytest.raises(PinError, match="the name of a list is 1 to 63 bytes"):
            one.block({"x" * 64: [ip_network("192.0.2.0/24")]})
    assert remove(filesystem)
