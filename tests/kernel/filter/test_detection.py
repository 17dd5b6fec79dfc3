"""What the program knows of flows, sources and apps: real sockets, and frames as attackers make them, over a cable."""

import struct
from ipaddress import ip_network

import pytest

from spectrum.core.ddos.served import MAX_PLACES, ServedPlace
from spectrum.kernel.filter.detection import Detection, pack_served
from spectrum.kernel.pins import PinError
from tests.kernel.isolation import isolated

SETUP = """
import ctypes, os, socket, struct, subprocess, sys, time
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from spectrum.core.ddos.served import ServedPlace
from spectrum.core.ddos.signatures import option_signature
from spectrum.detector.columns import columns
from spectrum.kernel.filter.attaching import detect, load, remove
from spectrum.kernel.filter.detection import Detection, PinnedDetection, pack_served
from spectrum.kernel.filter.pinned import PinnedFilter
from spectrum.kernel.looks import Looks

filesystem = Path(sys.argv[1])
SERVED = pack_served([
    ServedPlace(6, ip_network("192.0.2.1/32"), 8000, 3), ServedPlace(6, ip_network("2001:db8::/64"), 8000, 4),
    ServedPlace(17, ip_network("0.0.0.0/0"), 9000, 5), ServedPlace(17, ip_network("::/0"), 9000, 6),
    ServedPlace(17, ip_network("198.51.100.0/24"), 9000, 7), ServedPlace(17, ip_network("198.51.100.9/32"), 0, 8),
])

def run(*commands):
    for command in commands:
        subprocess.run(command.split(), check=True)

# The far end of the cable, in a network of its own.
far = subprocess.Popen(["unshare", "--net", "sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while os.stat(f"/proc/{far.pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
    time.sleep(0.01)
there = f"nsenter -t {far.pid} -n"
run(f"ip link add v0 address 02:00:00:00:00:01 type veth peer name v1 address 02:00:00:00:00:02 netns {far.pid}",
    "ip link set v0 up", f"{there} ip link set v1 up", "ip address add 192.0.2.1/24 dev v0",
    "ip address add 2001:db8::1/64 dev v0 nodad", f"{there} ip address add 192.0.2.2/24 dev v1",
    f"{there} ip address add 2001:db8::2/64 dev v1 nodad", f"{there} ip link set lo up")

@contextmanager
def at_far():
    library = ctypes.CDLL(None)
    with open("/proc/self/ns/net") as here, open(f"/proc/{far.pid}/ns/net") as its:
        library.setns(its.fileno(), 0)
        yield
        library.setns(here.fileno(), 0)

def room():
    with PinnedDetection(filesystem) as one:
        return {name: one.maps[name].shape().entries for name in ("flows", "answered", "known_sources", "looks")}

load(["v0"], filesystem)
assert room() == {"flows": 64, "answered": 64, "known_sources": 64, "looks": 65536}
detect(Detection(1, 1, SERVED), filesystem)
assert room() == {"flows": 262144, "answered": 65536, "known_sources": 262144, "looks": 4 << 20}
with PinnedDetection(filesystem) as one:
    looks = Looks(one.looks())

def seen(port):
    "Return rows of columns of what came from a port."
    found = columns(looks.read())
    rows = [n for n in range(len(found)) if found.packets["source_port"][n] == port]
    return found, rows

def sent_by(protocol):
    "Return the columns of what came of a protocol: neighbours talk, too."
    found = columns(looks.read()).packets
    return found.where(found["protocol"] == protocol)

def states(told):
    found, rows = told
    return found.packets["state"][rows].tolist()

def entries(name):
    with PinnedDetection(filesystem) as one:
        return len(list(one.maps[name].items()))
"""

SOCKETS = (
    SETUP
    + """
def talk_tcp(family, host, port):
    server = socket.create_server((host, 8000), family=family)
    with at_far():
        client = socket.socket(family, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("", port))
    client.connect((host, 8000))
    peer, _ = server.accept()
    for _ in range(3):
        client.send(b"hello")
        peer.recv(10)
        peer.send(b"back")
        client.recv(10)
    client.close()
    peer.recv(1)
    peer.close()
    server.close()
    return seen(port)

def talk_udp(family, host, port, count):
    with socket.socket(family, socket.SOCK_DGRAM) as server, at_far():
        server.bind((host, 9000))
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.bind(("", port))
            client.connect((host, 9000))
            for n in range(count):
                client.send(b"GV%d" % n)
                server.sendto(b"answer", server.recvfrom(10)[1])
                client.recv(10)
    return seen(port)

for family, host, app in ((socket.AF_INET, "192.0.2.1", 3), (socket.AF_INET6, "2001:db8::1", 4)):
    found, rows = talk_tcp(family, host, 5000)
    packets = found.packets
    state, flags = packets["state"][rows].tolist(), packets["tcp_flags"][rows].tolist()
    # The SYN; the ACK and the first data of the handshake; all after the answer.
    assert flags[:2] == [2, 16] and state[:3] == [0, 1, 1], (flags, state)
    assert state[-1] == 2 and sorted(state) == state and state.count(2) >= 4, state
    assert set(packets["app"][rows]) == {app} and set(packets["served"][rows]) == {1}
    # The source is known from the same moment on.
    assert (packets["known"][rows] == (packets["state"][rows] == 2)).all()
    first = rows[flags.index(24)]
    assert int(packets["payload"][first]).to_bytes(8, "big") == b"hello\\0\\0\\0"
    assert packets["payload_bytes"][first] == 5
    assert set(packets["stands_for"][rows]) == {1.0}
assert entries("flows") == 2 and entries("answered") == 0 and entries("known_sources") == 2

for family, host, app in ((socket.AF_INET, "192.0.2.1", 5), (socket.AF_INET6, "2001:db8::1", 6)):
    found, rows = talk_udp(family, host, 5001, 4)
    assert states((found, rows)) == [0, 1, 2, 2]
    assert set(found.packets["app"][rows]) == {app}
assert entries("flows") == 4 and entries("answered") == 2

# The program replaced, as by a hot restart: what is in use stays so. Off: nothing is seen. On again by other means.
load(["v0"], filesystem)
assert states(talk_udp(socket.AF_INET, "192.0.2.1", 5001, 1)) == [2]
detect(Detection(), filesystem)
assert not list(filesystem.glob("*/sent_*"))
assert states(talk_udp(socket.AF_INET, "192.0.2.1", 5004, 3)) == [] and entries("flows") == 4
load(["v0"], filesystem)
assert entries("flows") == 4 and room()["flows"] == 262144  # for when it is on again
detect(Detection(0, 1, SERVED), filesystem)
assert list(filesystem.glob("*/sent_*"))
assert states(talk_udp(socket.AF_INET, "192.0.2.1", 5004, 4)) == [2, 2]
with PinnedDetection(filesystem) as one:
    assert one.settings().used_one_in == 1 and len(one.settings().served) == len(SERVED)
detect(Detection(1, 7, SERVED[:32]), filesystem)
assert entries("served") == 1

# Where the kernel has no links at tc, by classic filters.
from spectrum.kernel.filter.detection import attach_egress, EGRESS
from spectrum.kernel.pins import folder_of, load as load_program, unload, linked_interfaces
from spectrum.kernel.filter.detection import DETECTION_MAPS
from spectrum.kernel.filter.pinned import MAPS
from spectrum.kernel.filter.tcp_protection import SMALL_TCP_TABLES
folder = folder_of(filesystem)
unload(folder, EGRESS)
program = load_program("filter", folder, {**MAPS, **DETECTION_MAPS}, SMALL_TCP_TABLES)
for _ in range(2):
    attach_egress(program, folder, ["v0"], by_links=False)
program.close()
assert linked_interfaces(folder, EGRESS) == ["v0"] and list(folder.glob("sent_tcout_v0"))
detect(Detection(1, 1, SERVED), filesystem)
assert states(talk_udp(socket.AF_INET, "192.0.2.1", 5005, 3)) == [0, 1, 2]
assert remove(filesystem) and not list(filesystem.glob("*/sent_*"))
assert b"bpf" not in subprocess.run(["tc", "filter", "show", "dev", "v0", "egress"], capture_output=True).stdout
far.kill()
print("ok")
"""
)

FRAMES = (
    SETUP
    + """
with at_far():
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind(("v1", 0))
LINK = bytes.fromhex("020000000001" "020000000002")

def ip4(payload, protocol=17, source="203.0.113.5", to="192.0.2.1", options=b"", offset=0, ident=4711, ttl=61):
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, 4 * words + len(payload), ident, offset, ttl, protocol,
                       0, ip_address(source).packed, ip_address(to).packed) + options
    total = sum(struct.unpack(f"!{2 * words}H", head))
    check = ~((total & 0xffff) + (total >> 16)) & 0xffff
    return LINK + b"\\x08\\0" + head[:10] + struct.pack("!H", check) + head[12:] + payload

def ip6(payload, protocol=17, source="2001:db8:7::5", to="2001:db8::1"):
    head = struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, 60, ip_address(source).packed,
                       ip_address(to).packed)
    return LINK + b"\\x86\\xdd" + head + payload

def udp(payload, port=9000, source_port=6000):
    return struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload

def tcp(flags, options=b"", payload=b"", port=8000, window=1234, source_port=6000):
    numbers = source_port, port, 0xcb007101, 1 << 31
    return struct.pack("!HHIIBBHHH", *numbers, (5 + len(options) // 4) << 4, flags, window, 0, 0) + options + payload

SYN = bytes.fromhex("020405b4" "0402080a0000000100000000" "01030307")
WINDOWS = bytes.fromhex("020405b4" "01030308" "01010402")
TIMES = bytes.fromhex("0101080a0000000100000002")
VLAN = b"\\x81\\0\\0\\x07"
cut = bytes.fromhex("0204")
hop = bytes([17, 0]) + bytes(6)
frames = [
    # What is sent, and what is known of it.
    (ip4(udp(b"AAAAAAAABBBB")), dict(app=5, served=1, payload=b"A" * 8, payload_bytes=8, length=40)),
    (ip4(udp(b"A"), ident=4711, ttl=61), dict(ident=4711, ttl=61)),
    (ip4(udp(b"AB")) + bytes(20), dict(payload=b"AB", payload_bytes=2, length=30)),  # with padding
    (ip4(udp(b"")), dict(payload=b"", payload_bytes=0)),
    (ip4(udp(b"ABCDEFGH", port=9001)), dict(app=-1, served=0)),
    (ip4(udp(b"x"), to="198.51.100.9"), dict(app=8)),
    (ip4(udp(b"x", port=1), to="198.51.100.9"), dict(app=8)),
    (ip4(udp(b"x"), to="198.51.100.8"), dict(app=7)),
    (ip4(udp(b"x", port=1), to="198.51.100.8"), dict(app=-1)),
    (ip4(tcp(2, SYN), 6), dict(app=3, tcp_flags=2, window=1234, options=option_signature(SYN), payload=b"",
                            sequence=0xcb007101, acknowledgement=1 << 31)),
    (ip4(tcp(2, WINDOWS), 6), dict(options=option_signature(WINDOWS))),
    (ip4(tcp(16, TIMES, b"data"), 6), dict(options=option_signature(TIMES), payload=b"data", payload_bytes=4, state=0)),
    (ip4(tcp(4), 6), dict(options=0, tcp_flags=4)),
    (ip4(tcp(2, bytes(4)), 6), dict(options=option_signature(bytes(4)))),
    (ip4(tcp(2, b"\\x01\\x01" + cut), 6), dict(options=option_signature(b"\\x01\\x01" + cut))),
    (ip4(tcp(2, bytes([3, 0, 1, 1])), 6), dict(options=option_signature(bytes([3, 0])))),
    (ip4(tcp(2, b"\\x01" * 40), 6), dict(options=option_signature(b"\\x01" * 40))),
    (ip4(tcp(2, bytes([254, 40]) + bytes(38)), 6), dict(options=option_signature(bytes([254, 40]) + bytes(38)))),
    (ip4(udp(b"ABC"), options=b"\\x01\\x01\\x01\\0"), dict(app=5, payload=b"ABC", payload_bytes=3)),
    (ip4(udp(b"ABCDEFGHIJ"), offset=0x2000), dict(fragment=1, app=5, source_port=6000, payload=b"ABCDEFGH")),
    (ip4(b"later on" * 2, offset=100), dict(fragment=2, app=-1, source_port=0, payload=b"later on")),
    (ip4(bytes([8, 0, 1, 2, 3, 4, 5, 6, 7]), 1), dict(protocol=1, payload=bytes([8, 0, 1, 2, 3, 4, 5, 6]))),
    (ip4(b"", 47), dict(protocol=47, payload_bytes=0)),
    (ip6(udp(b"ABCDEFGHI")), dict(version=6, app=6, ttl=60, length=57, payload=b"ABCDEFGH")),
    (ip6(tcp(2, SYN), 6), dict(app=4, options=option_signature(SYN), sequence=0xcb007101, acknowledgement=1 << 31)),
    (ip6(udp(bytes(40))), dict(sequence=0, acknowledgement=0)),
    (ip6(hop + udp(b"ABCDEFGHI"), 0), dict(protocol=17, app=6, payload=b"ABCDEFGH")),
    (ip6(hop[:1] + b"\\x01" + bytes(14) + udp(b"ABC"), 60), dict(protocol=17, app=6, payload=b"ABC")),
    (ip6(bytes([44, 0]) + bytes(6) + bytes([17, 0, 0, 1, 0, 0, 0, 9]) + udp(b"ABC"), 0),
     dict(protocol=17, fragment=1, app=6, payload=b"ABC")),
    (ip6(bytes([17, 0, 0, 8, 0, 0, 0, 9]) + b"abcdefgh", 44), dict(protocol=17, fragment=2, payload=b"abcdefgh")),
    (ip6(bytes([17, 0, 0, 0, 0, 0, 0, 9]) + udp(b"ABC"), 44), dict(fragment=0, app=6)),
    (ip6((bytes([0, 0]) + bytes(6)) * 4 + udp(b"ABC"), 0), dict(protocol=0, app=-1)),  # five headers
    (LINK + VLAN + ip4(udp(b"ABC"))[12:], dict(app=5, payload=b"ABC")),
]
for frame, wanted in frames:
    looks.discard()
    sender.send(frame)
    found = columns(looks.read())
    mine = [n for n in range(len(found)) if found.packets["source_low"][n] in (
        0xffffcb007105, int(ip_address("2001:db8:7::5")) & (1 << 64) - 1)]
    assert len(mine) == 1, (frame, wanted, len(mine))
    (row,) = mine
    for name, value in wanted.items():
        if isinstance(value, bytes):
            value = int.from_bytes(value.ljust(8, b"\\0"), "big")
        assert found.packets[name][row] == value, (wanted, name, found.packets[name][row])
    assert found.packets["state"][row] == found.packets["known"][row] == 0
    assert found.header(row) == frame[:88] and found.frame_bytes[row] == len(frame)
    with PinnedFilter(filesystem) as one:
        assert found.reason[row] == one.places()["passed"]

# What is answered to forged sources makes no flow in use, and evicts none.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, PinnedFilter(filesystem) as one:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    server.bind(("192.0.2.1", 9000))
    server.settimeout(5)
    run("ip route replace default via 192.0.2.2", "ip neighbour replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev v0")
    looks.discard()
    for n in range(200):
        sender.send(ip4(udp(b"forged"), source=f"203.0.113.{n}"))
        server.sendto(b"answer", server.recvfrom(10)[1])
    found = sent_by(17)
    assert len(found) == 200 and not found["state"].any() and not found["known"].any()
    assert entries("answered") == 200 and entries("flows") == 0

    # In a VLAN.
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as here:
        here.bind(("v0", 0))
        answer = ip4(udp(b"x", port=6001, source_port=9001), source="192.0.2.1", to="203.0.113.5")
        here.send(LINK + VLAN + answer[12:])
    for n in range(3):
        sender.send(LINK + VLAN + ip4(udp(b"x", port=9001, source_port=6001))[12:])
    assert sent_by(17)["state"].tolist() == [1, 2, 2]

    # One of so many: each sample says of how many.
    detect(Detection(10, 1, SERVED), filesystem)
    for n in range(2000):
        sender.send(ip4(udp(b"forged")))
    found = sent_by(17)
    used = found["state"] == 2
    assert used.sum() == 1999 and set(found["stands_for"][used]) == {1.0}
    detect(Detection(10, 0, SERVED), filesystem)
    for n in range(3000):
        sender.send(ip4(udp(b"forged", port=9009)))
    found = sent_by(17)
    assert 200 < len(found) < 420 and set(found["stands_for"]) == {10.0}, len(found)

    # Those on a list, and guarded ones, are not looked at. What comes faster than it is read is counted.
    detect(Detection(1, 1, SERVED), filesystem)
    one.block({"bad": [ip_network("203.0.113.77/32")]})
    one.guard([ip_network("203.0.113.78/32")])
    sender.send(ip4(udp(b"x"), source="203.0.113.77"))
    sender.send(ip4(udp(b"x"), source="203.0.113.78"))
    assert len(sent_by(17)) == 0
    for _ in range(25000):
        sender.send(ip4(udp(b"x", port=9009)))
    found, lost = len(columns(looks.read())), one.counts()["looks_lost"][0]
    assert 21000 < found < 22000 and 25000 <= found + lost < 25100, (found, lost)
far.kill()
print("ok")
"""
)


@pytest.mark.parametrize("script", [SOCKETS, FRAMES], ids=["sockets", "frames"])
def test_what_is_known_of_packets(script, filesystem, require):
    require("nsenter", "ip", "tc")
    assert isolated(script, filesystem) == "ok\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Detection(-1, 1), "one in 1"),
        (Detection(1, 2**32), "one in 1"),
        (Detection(1, 1, b"x"), "of 32 bytes each"),
        (Detection(1, 1, bytes(32 * (MAX_PLACES + 1))), "65536 places at most"),
        (Detection(1, 1, bytes(32)), "at an IPv4 or IPv6 prefix"),
        (Detection(1, 1, struct.pack("=IBBH16sII", 200, 6, 6, 1, bytes(16), 1, 64)), "at an IPv4 or IPv6 prefix"),
        (Detection(1, 1, struct.pack("=IBBH16sII", 64, 6, 6, 1, b"\xff" * 16, 1, 64)), "is no prefix"),
    ],
)
def test_settings_of_another_process_are_checked(settings, message):
    with pytest.raises(PinError, match=message):
        settings.check()


def test_settings_that_the_program_takes():
    places = [ServedPlace(6, ip_network("192.0.2.0/24"), 443, 0), ServedPlace(17, ip_network("::/0"), 0, 255)]
    Detection(1, 1, pack_served(places)).check()
    assert not Detection(served=pack_served(places)).is_on
