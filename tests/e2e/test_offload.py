"""UDP flows that the kernel moves: the same bytes and the same records as without it, over cables between hosts."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from spectrum.cli.client import ask
from tests.e2e.hosts import edge, serves, spectrum, stop
from tests.engine.harness import eventually

# Answers as it was asked, on each port for both families; "where am I?" is answered with the peer.
ORIGIN = """
import socket, sys, threading
def serve(sock):
    while True:
        data, peer = sock.recvfrom(65536)
        asked = data.endswith(b"where am I?")
        sock.sendto(data[:-11] + ("%s %d" % peer[:2]).encode() if asked else data, peer)
for host in sys.argv[1].split(","):
    for port in range(7100, 7110):
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, port))
        threading.Thread(target=serve, args=(sock,)).start()
print("ready", flush=True)
"""

# Of each size some datagrams, one after the other, from a port that is always the same; what came back.
CLIENT = """
import json, socket, sys
def exchange(host, port, source, sizes):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1.5)
        sock.bind(("", source))
        sock.connect((host, port))
        told = []
        for number, size in enumerate(sizes):
            data = bytes((number + place) % 256 for place in range(size))
            sock.send(data)
            try:
                answer = sock.recv(65536)
                told.append("same" if answer == data else answer.hex())
            except OSError as exc:
                told.append(type(exc).__name__)
        return told
print(json.dumps([exchange(*one) for one in json.loads(sys.argv[1])]))
"""

HEADERS = {
    "plain": "proxy_protocol: off",
    "simple": "proxy_protocol: simple",
    "lenient": "proxy_protocol: simple, spp_replies: lenient",
    "each": "proxy_protocol: v2, proxy_header_datagram: each",
    "first": "proxy_protocol: v2, proxy_header_datagram: first",
}
SIZES = [100, 100, 0, 1, 2, 3, 37, 38, 39, 513, 1434, 1472, 3000, 100]


def addresses(family):
    """Of the edge towards clients, and of the origin."""
    return ("10.231.1.1", "10.231.2.2") if family == 4 else ("fd00:1::1", "fd00:2::2")


def origin_url(host, port):
    return f"udp://[{host}]:{port}" if ":" in host else f"udp://{host}:{port}"


def apps_of(near, far, idle="1m"):
    """An app for each way of telling the origin of the client, on 7000 and following."""
    return "apps:\n" + "".join(
        f"  {name}: {{protocol: udp/{7000 + number}, edge_ips: ['{near}'], {header}, timeouts: {{idle: {idle}}}, "
        f"origin_direct: ['{origin_url(far, 7100 + number)}']}}\n"
        for number, (name, header) in enumerate(HEADERS.items())
    )


@pytest.fixture
def origin(hosts, start):
    """A function that starts the origin's program on a host, at addresses."""

    def begin(host, *places):
        start(host, sys.executable, "-c", ORIGIN, ",".join(places))
        eventually(lambda: "ready" in start.printed(), 10, start.printed)

    return begin


@pytest.fixture
def serve(start, tmp_path, filesystem):
    """A function that runs the daemon on the edge, with flows in the kernel; it returns the control socket."""

    def begin(text, offload="true"):
        return edge(start, tmp_path, f"kernel: {{bpffs: {filesystem}}}\nudp_offload: {offload}\n{text}")

    return begin


def status(control):
    return ask(control, "GET", "/status")


def pids(control):
    return {worker["pid"] for worker in status(control)["workers"]}


def used_origins(control):
    return {origin["address"] for origin in status(control)["apps"][0]["origins"] if origin["sessions"]}


def offloaded(control):
    return sum(worker["offloaded"] for worker in status(control)["workers"])


def exchange(hosts, *flows, host="c"):
    """What clients got back: of each (host, port, source port, sizes) a list."""
    return json.loads(hosts.python(host, CLIENT, json.dumps(flows)))


def records(start, count):
    """What the daemon recorded of flows that ended, without times."""

    def found():
        lines = [json.loads(line) for line in start.last_printed().splitlines() if line.startswith('{"Event"')]
        names = (
            "Application",
            "Reason",
            "ClientIP",
            "ClientPort",
            "ClientBytes",
            "OriginBytes",
            "ClientDatagrams",
            "OriginDatagrams",
            "OriginIP",
            "OriginPort",
        )
        return sorted([line[name] for name in names] for line in lines)

    eventually(lambda: len(found()) == count, 15, lambda: (found(), start.last_printed()))
    return found()


@pytest.mark.parametrize("family", [4, 6])
def test_the_same_bytes_and_records_as_in_user_space(hosts, start, origin, serve, tmp_path, family):
    near, far = addresses(family)
    origin("o", far)
    found = []
    flows = [(near, 7000 + number, 40000 + number, SIZES) for number in range(len(HEADERS))]
    for offload in ("false", "true"):
        control = serve(apps_of(near, far), offload)
        told = exchange(hosts, *flows)
        assert offloaded(control) == (len(flows) if offload == "true" else 0), status(control)
        counted = [[app[name] for name in app if "from_" in name] for app in status(control)["apps"]]
        file = tmp_path / "edge.yaml"  # they end when all is seen, however long that took
        file.write_text(file.read_text().replace(apps_of(near, far), apps_of(near, far, "100ms")))
        assert ask(control, "POST", "/reload")["errors"] == []
        found.append((told, counted, records(start, len(flows))))
        assert offloaded(control) == 0, "they ended"
        stop(start.running[-1])
        for host in "ceo":  # what they know of paths
            hosts.ip(host, f"-{family}", "route", "flush", "cache")
    assert found[0] == found[1]
    assert found[1][0][0].count("same") >= len(SIZES) - 2, "all but those that would take fragments"


APP = """apps:
  x: {{protocol: udp/7000, edge_ips: ['10.231.1.1', 'fd00:1::1'], origin_direct: ['udp://{}'], proxy_protocol: {}}}
"""


@pytest.mark.parametrize("header", ["off", "simple"])
@pytest.mark.parametrize("place", ["10.231.2.1", "127.0.0.1"])
def test_an_origin_on_the_edge_itself(hosts, origin, serve, place, header):
    """What was rewritten goes up into the machine, whatever its checks of source addresses are."""
    hosts.call("e", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
    origin("e", place)
    control = serve(APP.format(f"{place}:7100", header))
    assert exchange(hosts, ("10.231.1.1", 7000, 0, SIZES[:-2])) == [["same"] * len(SIZES[:-2])]
    assert offloaded(control) == 1
    counts = status(control)["apps"][0]
    assert (counts["datagrams_from_client"], counts["datagrams_from_origin"]) == (len(SIZES) - 2,) * 2


def test_a_client_on_the_edge_itself(hosts, origin, serve):
    origin("o", "10.231.2.2", "fd00:2::2")
    control = serve(APP.format("10.231.2.2:7100", "simple"))
    assert exchange(hosts, ("10.231.1.1", 7000, 0, [100] * 20), host="e") == [["same"] * 20]
    assert offloaded(control) == 1


def test_families_that_differ_are_left_to_user_space(hosts, origin, serve):
    origin("o", "10.231.2.2", "fd00:2::2")
    control = serve(APP.format("10.231.2.2:7100", "simple"))
    assert exchange(hosts, ("fd00:1::1", 7000, 0, [100] * 5)) == [["same"] * 5]
    assert (
        offloaded(control),
        status(control)["workers"][0]["sessions"] + status(control)["workers"][1]["sessions"],
    ) == (0, 1)


# Checksums in software at both ends of the cables, so that what is captured has them.
NO_CHECKSUMS_BY_DEVICES = """
import fcntl, socket, struct, sys
from array import array
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for interface in sys.argv[1:]:
        command = array("B", struct.pack("II", 0x17, 0))  # ETHTOOL_STXCSUM (linux/ethtool.h)
        fcntl.ioctl(sock, 0x8946, struct.pack("16sP16x", interface.encode(), command.buffer_info()[0]))
"""


@pytest.mark.parametrize("family", [4, 6])
def test_checksums_as_tcpdump_sees_them(require, hosts, start, origin, serve, family):
    require("tcpdump")
    near, far = addresses(family)
    for host, interfaces in {"c": ["e1b"], "e": ["e1a", "e2a"], "o": ["e2b"]}.items():
        hosts.python(host, NO_CHECKSUMS_BY_DEVICES, *interfaces)
    origin("o", far)
    control = serve(apps_of(near, far))
    for host, interface in (("c", "e1b"), ("o", "e2b")):
        start(host, "tcpdump", "-l", "-n", "-vv", "-i", interface, "-Q", "in", "udp")
        eventually(lambda: "listening on" in start.last_printed(), 10, start.last_printed)
    sizes = [100, 100, 1, 2, 37, 38, 39, 1400]
    told = exchange(hosts, *((near, 7000 + number, 0, sizes) for number in range(len(HEADERS))))
    assert offloaded(control) == len(HEADERS)
    assert told[0] == ["same"] * len(sizes)
    eventually(lambda: start.printed().count("udp sum ok") >= 2 * len(HEADERS) * len(sizes), 10, start.printed)
    assert "bad udp cksum" not in start.printed()


# Frames as they are given, from a socket below the stack; then what comes to the client's port within a second.
FORGE = r"""
import json, socket, struct, sys
host, port, source, payloads = json.loads(sys.argv[1])
def checksum(data):
    total = sum(struct.unpack("!%dH" % ((len(data) + 1) // 2), data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def packet(kind, payload):
    options = b"\x01\x01\x01\x00" if kind == "options" else b""
    length = 8 + len(payload) + {"long": 8, "short": -4}.get(kind, 0)
    pseudo = socket.inet_aton("10.231.1.2") + socket.inet_aton(host) + struct.pack("!BBH", 0, 17, length)
    udp = struct.pack("!HHHH", source, port, length, 0) + payload
    check = checksum(pseudo + udp[:length]) or 0xffff
    if kind == "checksum":
        check ^= 0x5555
    if kind == "none":
        check = 0
    udp = udp[:6] + struct.pack("!H", check) + udp[8:]
    if kind == "truncated":
        udp = udp[:5]
    parts = [(0, udp)] if kind != "fragments" else [(0x2000, udp[:16]), (2, udp[16:])]
    ends = socket.inet_aton("10.231.1.2") + socket.inet_aton(host)
    for offset, part in parts:
        size = 20 + len(options) + len(part)
        ip = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, size, 77, offset, 64, 17, 0) + ends + options
        yield ip[:10] + struct.pack("!H", checksum(ip) ^ (kind == "ip checksum")) + ip[12:] + part
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, \
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0x0008) as below:
    sock.settimeout(2)
    sock.bind(("", source))
    for _ in range(2):
        sock.sendto(b"hello", (host, port))
        sock.recv(100)
    with open("/proc/net/arp") as table:
        link = next(line.split()[3] for line in table if line.startswith(host + " "))
    told = {}
    sock.settimeout(0.2)
    for kind, payload in payloads:
        for one in packet(kind, bytes.fromhex(payload)):
            below.sendto(one, ("e1b", 0x0800, 0, 0, bytes.fromhex(link.replace(":", ""))))
        try:
            told[kind] = sock.recv(2000).hex()
        except TimeoutError:
            told[kind] = "nothing"
    print(json.dumps(told))
"""


@pytest.mark.parametrize("header", ["off", "simple"])
def test_forged_packets(hosts, start, origin, serve, header):
    """They fare as in user space: whoever receives a wrong one sees that it is wrong."""
    origin("o", "10.231.2.2")
    payload = b"payload that is no header".hex()
    simple = "56ec" + "00" * 36 + payload
    kinds = ["right", "checksum", "none", "truncated", "options", "fragments", "ip checksum", "long", "short"]
    forged = [(kind, payload) for kind in kinds] + [("a header of its own", simple)]
    found = []
    for offload in ("false", "true"):
        control = serve(APP.format("10.231.2.2:7100", header), offload)
        told = hosts.python("c", FORGE, json.dumps(("10.231.1.1", 7000, 40001, forged)))
        assert offloaded(control) == (offload == "true")
        found.append(json.loads(told))
        stop(start.running[-1])
    assert found[0] == found[1]
    wrong = {"checksum", "truncated", "ip checksum", "long"}
    assert {kind for kind, answer in found[1].items() if answer == "nothing"} == wrong, found[1]


WRONG_ANSWERS = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("10.231.2.2", 7100))
print("ready", flush=True)
while True:
    data, peer = sock.recvfrom(2000)
    asked = data[38:]
    if asked == b"other header":
        sock.sendto(data[:37] + bytes([data[37] ^ 1]) + asked, peer)
    elif asked == b"no header":
        sock.sendto(asked, peer)
    sock.sendto(data, peer)
"""


def test_answers_with_the_wrong_header_are_dropped_and_counted(hosts, start, serve):
    start("o", sys.executable, "-c", WRONG_ANSWERS)
    eventually(lambda: "ready" in start.printed(), 10)
    control = serve(APP.format("10.231.2.2:7100", "simple"))
    script = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(2)
    sock.connect(("10.231.1.1", 7000))
    for said in (b"a", b"b", b"other header", b"no header", b"c"):
        sock.send(said)
        assert sock.recv(100) == said
"""
    hosts.python("c", script)
    counts = status(control)["apps"][0]
    assert offloaded(control) == 1
    assert counts["datagrams_dropped"] == {"bad_reply": 2}
    assert (counts["datagrams_from_client"], counts["datagrams_from_origin"]) == (5, 5)


# One flow that goes on until its input ends: how many datagrams came back, how late, and from where they came to the
# origin, which tells.
STEADY = """
import json, select, socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(float(sys.argv[1]))
    sock.connect(("10.231.1.1", 7000))
    done, lost, faults, seen, longest = 0, 0, set(), set(), 0.0
    while not select.select([sys.stdin], [], [], 0)[0] or sys.stdin.readline():
        asked = done % 50 == 49
        data = b"%020d" % done + (b"where am I?" if asked else b"")
        began = time.monotonic()
        try:
            sock.send(data)
            while (answer := sock.recv(100))[:20] < data[:20]:
                pass  # late: what it answers was sent again since
        except OSError as exc:
            lost += 1
            faults.add(type(exc).__name__)
            time.sleep(0.01)
            continue
        longest = max(longest, time.monotonic() - began)
        if asked:
            seen.add(answer[20:].decode())
        else:
            assert answer == data, (answer, data)
        done += 1
        if done == 100:
            print("steady", flush=True)
    print(json.dumps([done, lost, sorted(faults), sorted(seen), longest]))
"""


class Steady:
    """A client's flow that goes on in the background."""

    def __init__(self, hosts, patience_s=2.0):
        self._process = hosts.start(
            "c", sys.executable, "-c", STEADY, str(patience_s), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        assert self._process.stdout.readline() == "steady\n"
        return self

    def __exit__(self, *_):
        with self._process:
            self._process.stdin.close()

    def stop(self):
        """How many datagrams were answered and how many not, the faults, where the origin saw it, the longest wait."""
        self._process.stdin.close()
        return json.loads(self._process.stdout.readline())


def kernel_flows(hosts, filesystem):
    said = hosts.call("e", *spectrum("kernel", "status"), "--bpffs", filesystem)
    return next(line for line in said.splitlines() if line.startswith("udp offload: "))


def test_the_program_is_replaced_and_workers_are_killed_and_nothing_is_lost(hosts, start, origin, serve, filesystem):
    origin("o", "10.231.2.2")
    control = serve(APP.format("10.231.2.2:7100", "off"))
    with Steady(hosts) as steady:
        eventually(lambda: offloaded(control) == 1)
        for _ in range(5):
            assert ask(control, "POST", "/reload")["errors"] == []
        for _ in range(2):
            time.sleep(1.2)  # what ends sooner twice in a row gets no flows
            workers = pids(control)
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda old=workers: serves(control) and not pids(control) & old, 20)
            eventually(lambda: offloaded(control) == 1)
        assert "; 1 flows" in kernel_flows(hosts, filesystem)
        done, lost, faults, seen, longest = steady.stop()
        assert (lost, faults, len(seen)) == (0, [], 1), (done, longest, seen, start.last_printed())
        # What workers that are killed have not reported is lost, of their last second.
        assert 0 <= done - status(control)["apps"][0]["datagrams_from_client"] < done / 5


def test_nothing_is_rewritten_when_all_are_killed(hosts, start, origin, serve, filesystem):
    origin("o", "10.231.2.2")
    control = serve(APP.format("10.231.2.2:7100", "off"))
    with Steady(hosts, 0.1) as steady:
        eventually(lambda: offloaded(control) == 1)
        pids = [worker["pid"] for worker in status(control)["workers"]]
        supervisor = start.running[-1]
        supervisor.kill()
        supervisor.wait()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(6)
        assert "; 1 flows" in kernel_flows(hosts, filesystem), "it is there, and does nothing"
        done, lost, faults, _, _ = steady.stop()
        assert lost > 5 and "ConnectionRefusedError" in faults, (done, lost, faults)
        control = serve(APP.format("10.231.2.2:7100", "off"))
        assert "; 0 flows" in kernel_flows(hosts, filesystem), "a new daemon begins anew"
        assert exchange(hosts, ("10.231.1.1", 7000, 0, [10] * 5)) == [["same"] * 5]
        assert hosts.call("e", *spectrum("kernel", "detach"), "--bpffs", filesystem).startswith("removed")
        assert exchange(hosts, ("10.231.1.1", 7000, 0, [10] * 5)) == [["same"] * 5], "and goes on in user space"


def test_a_supervisor_that_is_killed_is_followed(hosts, start, origin, serve):
    origin("o", "10.231.2.2")
    control = serve(APP.format("10.231.2.2:7100", "simple"))
    with Steady(hosts) as steady:
        eventually(lambda: offloaded(control) == 1)
        start.running[-1].kill()
        start.running[-1].wait()
        serve(APP.format("10.231.2.2:7100", "simple"))
        eventually(lambda: len(status(control)["workers"]) == 2)
        eventually(lambda: offloaded(control) == 1)
        done, lost, faults, seen, _ = steady.stop()
        assert (lost, faults, len(seen)) == (0, [], 1), done


def test_what_changes_reaches_the_kernel_at_once(hosts, start, origin, serve, tmp_path):
    """An origin that is gone, one that is taken out, a limit, and a client that is blocked."""
    origin("o", "10.231.2.2")
    origin("e", "10.231.2.1")
    text = """
pools: {{p: {{origins: [
  {{name: a, address: 10.231.2.2, port: 7100, enabled: {}}},
  {{name: b, address: 10.231.2.1, port: 7100, enabled: {}}}]}}}}
load_balancers: {{l: {{default_pools: [p], fallback_pool: p}}}}
access_rules: {{no: {{target: ip, value: 10.231.1.{}, action: block}}}}
apps: {{x: {{protocol: udp/7000, edge_ips: [10.231.1.1], load_balancer: l, ip_firewall: true, {}}}}}
"""
    control = serve(text.format("true", "false", 9, ""))
    with Steady(hosts, 0.1) as steady:

        def change(*values):
            file = tmp_path / "edge.yaml"
            said = file.read_text()
            file.write_text(said[: said.index("\npools:")] + text.format(*values) + f"control: {{socket: {control}}}\n")
            assert ask(control, "POST", "/reload")["errors"] == []

        def counts():
            app = status(control)["apps"][0]
            return {one["address"]: one["sessions"] for one in app["origins"]}, app["datagrams_from_client"]

        eventually(lambda: offloaded(control) == 1)
        change("false", "true", 9, "")
        eventually(lambda: counts()[0] == {"10.231.2.2:7100": 0, "10.231.2.1:7100": 1}, 5, lambda: str(counts()))
        eventually(lambda: offloaded(control) == 1)
        time.sleep(0.5)  # one on its way may be lost with the old origin's socket, and is waited for
        change("false", "true", 9, "limits: {datagrams_per_second: 100000}")
        assert offloaded(control) == 0
        change("false", "true", 9, "")
        eventually(lambda: offloaded(control) == 1)
        change("false", "true", 2, "")
        assert offloaded(control) == 0
        moved = counts()[1]
        time.sleep(0.5)
        assert counts()[1] <= moved + 20
        _, lost, faults, seen, _ = steady.stop()
        assert (lost > 0, faults, len(seen)) == (True, ["TimeoutError"], 2)


def test_what_an_origin_refuses_is_sent_to_another(hosts, start, origin, serve):
    origin("o", "10.231.2.2")
    origin("e", "10.231.2.1")
    programs = dict(zip(("10.231.2.2:7100", "10.231.2.1:7100"), start.running, strict=True))
    control = serve(
        "apps: {x: {protocol: udp/7000, edge_ips: [10.231.1.1], "
        "origin_direct: ['udp://10.231.2.2:7100', 'udp://10.231.2.1:7100'] } }"
    )
    with Steady(hosts, 0.1) as steady:
        eventually(lambda: offloaded(control) == 1)
        (used,) = used_origins(control)
        programs[used].kill()  # from now on its host answers that nobody listens
        programs[used].wait()
        eventually(lambda: used_origins(control) == set(programs) - {used})
        eventually(lambda: offloaded(control) == 1)
        time.sleep(0.5)
        _, lost, faults, seen, _ = steady.stop()
        assert (lost <= 5, len(seen)) == (True, 2), (lost, faults)


def test_tables_that_are_taken_away_by_hand_come_back(hosts, origin, serve, filesystem):
    origin("o", "10.231.2.2")
    control = serve(APP.format("10.231.2.2:7100", "off"))
    with Steady(hosts) as steady:
        eventually(lambda: offloaded(control) == 1)
        assert "removed" in hosts.call("e", *spectrum("kernel", "detach"), "--bpffs", filesystem)
        assert ask(control, "POST", "/reload")["errors"] == []
        eventually(lambda: kernel_flows(hosts, filesystem).endswith("; 1 flows"))
        done, lost, faults, seen, _ = steady.stop()
    assert (lost, faults, len(seen)) == (0, [], 1), done


@pytest.mark.parametrize("place", ["o", "e"])
def test_clients_own_addresses_at_origins(hosts, origin, serve, tmp_path, place):
    """`source: client`, to a machine whose gateway the edge is, and to the edge itself."""
    address = {"o": "10.231.2.2", "e": "127.0.0.1"}[place]
    hosts.gateway("o", 2)
    origin(place, address)
    app = (
        "apps: {x: {protocol: udp/7000, edge_ips: [10.231.1.1], source: client, "
        f"origin_direct: ['udp://{address}:7100']}}}}"
    )
    (tmp_path / "rules.yaml").write_text(app)
    hosts.call("e", *spectrum("doctor", "--install", "-c", tmp_path / "rules.yaml"))
    control = serve(app)
    with Steady(hosts) as steady:
        eventually(lambda: offloaded(control) == 1)
        time.sleep(0.3)
        done, lost, faults, seen, _ = steady.stop()
    assert (lost, faults) == (0, []), done
    assert [told.split()[0] for told in seen] == ["10.231.1.2"]
    assert done - status(control)["apps"][0]["datagrams_from_client"] < 5


def test_flows_of_tproxy_of_bindings_and_of_every_address(hosts, origin, serve, tmp_path):
    origin("o", "10.231.2.2")
    for prefix in ("198.51.100.0/24", "203.0.113.0/24"):
        hosts.ip("c", "route", "add", prefix, "via", "10.231.1.1")
    hosts.ip("e", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
    apps = (
        "apps:\n"
        "  t: {protocol: udp/7000, tproxy: {port: 15000, prefixes: [198.51.100.0/24]}, "
        "origin_direct: ['udp://10.231.2.2:7100']}\n"
        "  b: {protocol: udp/7001, bindings: [{prefix: 203.0.113.0/24, port: 0}], "
        "origin_direct: ['udp://10.231.2.2:7101'], proxy_protocol: simple}\n"
        "  w: {protocol: udp/7002, origin_direct: ['udp://10.231.2.2:7102']}\n"
    )
    (tmp_path / "rules.yaml").write_text(apps)
    hosts.call("e", *spectrum("doctor", "--install", "-c", tmp_path / "rules.yaml"))
    control = serve(apps)
    places = [("198.51.100.7", 7000), ("203.0.113.9", 7001), ("203.0.113.9", 999), ("10.231.1.1", 7002)]
    told = exchange(hosts, *((host, port, 0, [50] * 5) for host, port in places))
    assert told == [["same"] * 5] * 4
    assert offloaded(control) == 4
    assert [app["datagrams_from_origin"] for app in status(control)["apps"]] == [5, 10, 5]


TRAIN = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(2)
    sock.connect(("10.231.1.1", 7000))
    for _ in range(2):
        sock.send(b"hello")
        sock.recv(100)
    data = bytes(range(250)) * 20
    sock.setsockopt(17, 103, 1000)  # UDP_SEGMENT: five datagrams leave as one
    sock.send(data)
    assert b"".join(sock.recv(2000) for _ in range(5)) == data
"""


@pytest.mark.parametrize("header", ["off", "simple"])
def test_trains_of_datagrams(hosts, origin, serve, header):
    """What comes as one packet of several datagrams is counted as several; with headers user space takes it."""
    origin("o", "10.231.2.2")
    control = serve(APP.format("10.231.2.2:7100", header))
    hosts.python("c", TRAIN)
    assert offloaded(control) == 1
    app = status(control)["apps"][0]
    assert [app[name] for name in app if "from_" in name] == [5010, 5010, 7, 7]


def test_where_the_kernel_can_not(hosts, start, origin, tmp_path, filesystem):
    """It says why, and everything goes on in user space."""
    origin("o", "10.231.2.2")
    app = APP.format("10.231.2.2:7100", "off")
    control = edge(start, tmp_path, f"udp_offload: {{interfaces: [nowhere]}}\nkernel: {{bpffs: {filesystem}}}\n{app}")
    assert "there is no interface nowhere" in status(control)["kernel"]["udp_offload"]
    assert "forwarded in user space: there is no interface nowhere" in start.last_printed()
    assert exchange(hosts, ("10.231.1.1", 7000, 0, [10] * 5)) == [["same"] * 5]
    assert "udp_offload off: there is no" in hosts.call("e", *spectrum("status", "--socket", control))
