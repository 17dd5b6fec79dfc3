"""The examples of flow programs before real servers: noise is dropped, and who speaks the protocol loses nothing."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from spectrum.cli.client import DaemonError, ask
from spectrum.kernel.filter.attaching import remove
from spectrum.kernel.installation import PACKAGE
from spectrum.kernel.libbpf import Map
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, folder_of
from spectrum.simulation.network import CLIENTS_4, entered
from tests.acme_server import TSIG, ZONE
from tests.e2e.daemon import Daemon
from tests.e2e.flood_lab import FOUR, UDP_PORT, lab
from tests.e2e.hosts import edge, spectrum
from tests.engine.harness import eventually
from tests.name_servers import NAMED

__all__ = ["lab"]

EXAMPLES = Path(__file__).parents[2] / "config" / "flow-programs"
# A server as RakNet's: both steps of a connection, and an echo of what comes in a session.
GAME = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 9000))
    connected = set()
    while True:
        data, client = sock.recvfrom(2000)
        if data[0] == 0x05:
            sock.sendto(b"\\x06" + data[1:17] + bytes(11), client)
        elif data[0] == 0x07:
            connected.add(client)
            sock.sendto(b"\\x08" + data[1:17] + bytes(17), client)
        elif client in connected:
            sock.sendto(data, client)
"""
# Players, one after the other, from an address and a time on: each connects as clients do, and plays for some time.
PLAYERS = """
import os, socket, sys, time
address, count, played_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
magic = bytes.fromhex("00ffff00fefefefefdfdfdfd12345678")

def asked(sock, request, answer):
    for _ in range(12):
        sock.send(request)
        try:
            if sock.recv(2000)[0] == answer:
                return True
        except TimeoutError:
            pass
    return False

joined = sent = came = 0
for _ in range(count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        sock.connect(("10.231.1.1", 7000))
        sock.settimeout(0.5)
        first, second = b"\\x05" + magic + b"\\x0b" + bytes(1200), b"\\x07" + magic + bytes(18)
        if not asked(sock, first, 6) or not asked(sock, second, 8):
            continue
        joined += 1
        print("joined", flush=True)
        end = time.monotonic() + played_s
        while time.monotonic() < end:
            sock.send(b"\\x84" + os.urandom(30))
            sent += 1
            try:
                came += sock.recv(2000)[0] == 0x84
            except TimeoutError:
                pass
            time.sleep(0.05)
print(joined, sent, came)
"""
# Random payloads from forged addresses; says how many.
FLOOD = """
import os, random, socket, struct, sys, time
chance = random.Random(5)
link = bytes.fromhex(sys.argv[1].replace(":", "")) + bytes.fromhex("020000000001") + b"\\x08\\x00"
frames = []
for _ in range(2000):
    payload = bytes([chance.choice((0x02, 0x05, 0x07, 0x84, 0xff))]) + chance.randbytes(chance.randrange(10, 600))
    udp = struct.pack("!HHHH", chance.randrange(1024, 65536), 7000, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, bytes([198, 18]) + chance.randbytes(2),
                     socket.inet_aton("10.231.1.1"))
    frames.append(link + ip + udp)
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("e1b", 0))
    sent, end = 0, time.monotonic() + float(sys.argv[2])
    while time.monotonic() < end:
        for frame in frames[sent % 2000 : sent % 2000 + 50]:
            sock.send(frame)
        sent += 50
        time.sleep(0.005)
print(sent)
"""
NOISE = """
import random, socket
chance = random.Random(5)
answer = bytes.fromhex("00018180000100010000000001610765786d61706c65036f72670000010001")
for n in range(300):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(answer if n % 3 == 0 else chance.randbytes(chance.randrange(0, 400)), ("10.231.1.1", 53))
"""


def text(filesystem, tmp_path, mode, name, app):
    source = EXAMPLES / f"{name}.c"
    return (
        f"kernel: {{bpffs: {filesystem}}}\n"
        "filter: {interfaces: [e1a], guard: [10.231.2.0/24]}\n"
        f"ddos: {{store: {tmp_path}/learned}}\n"
        f"apps: {{{app}}}\n"
        f"flow_programs: {{{name}: {{source: {source}, apps: [{name}], mode: {mode}}}}}\n"
    )


def program(control, name):
    return ask(control, "GET", "/flow-programs")["programs"][name]


def test_a_game_in_a_flood_of_noise(hosts, start, tmp_path, filesystem, require):
    require("clang")
    tmp_path.chmod(0o755)
    app = "game: {protocol: udp/7000, origin_direct: ['udp://127.0.0.1:9000']}"
    start("e", sys.executable, "-c", GAME)
    control = edge(start, tmp_path, text(filesystem, tmp_path, "log", "game", app))
    supervisor = start.running[-1]
    hosts.ip("c", "address", "add", "10.231.1.3/24", "dev", "e1b")
    shown = hosts.call("e", "ip", "link", "show", "e1a")
    near = shown[shown.index("link/ether") :].split()[1]

    established = start("c", sys.executable, "-c", PLAYERS, "10.231.1.2", "1", "14")
    played = start.last_printed
    eventually(lambda: "joined" in played(), 10, start.printed)

    # First it only counts.
    flood = int(hosts.python("c", FLOOD, near, "0.5"))
    eventually(lambda: program(control, "game")["would_drop"] >= 0.9 * flood, 5, lambda: program(control, "game"))
    assert program(control, "game")["dropped"] == 0

    edge_text = (tmp_path / "edge.yaml").read_text().replace("mode: log", "mode: enabled")
    (tmp_path / "edge.yaml").write_text(edge_text)
    assert ask(control, "POST", "/reload").get("errors", []) == []
    before = program(control, "game")
    flood = start("c", sys.executable, "-c", FLOOD, near, "6")
    flooded = start.last_printed
    new = start("c", sys.executable, "-c", PLAYERS, "10.231.1.3", "2", "1")
    joined = start.last_printed
    # Nobody is needed for it.
    eventually(lambda: program(control, "game")["dropped"] > 500, 5, lambda: program(control, "game"))
    supervisor.kill()
    supervisor.wait()
    flood.wait(30)
    new.wait(30)
    edge(start, tmp_path, text(filesystem, tmp_path, "enabled", "game", app))
    found, sent = program(control, "game"), int(flooded().split()[-1])
    assert found["dropped"] >= 0.99 * sent and found["would_drop"] >= before["would_drop"], (found, sent)
    assert found["ns_per_datagram"], found
    assert joined().split()[-3] == "2", joined()
    established.wait(30)
    for said in (joined(), played()):
        sent, came = map(int, said.split()[-2:])
        assert sent > 10 and sent - came <= 1, f"{came} of {sent} datagrams of a session were answered"
    said = hosts.call("e", *spectrum("ddos", "programs"), "--socket", control)
    assert said.splitlines()[1].split()[:3] == ["game", "enabled", "game"], said


def test_a_name_server(hosts, start, tmp_path, filesystem, require):
    require("clang", "named", "dig")
    tmp_path.chmod(0o755)
    folder = tmp_path / "named"
    folder.mkdir()
    (folder / "tsig").write_text(TSIG)
    (folder / "example.org.zone").write_text(ZONE)
    (folder / "named.conf").write_text(NAMED.format(folder=folder, port=5300))
    start("e", "named", "-g", "-c", folder / "named.conf")
    app = "dns: {protocol: udp/53, origin_direct: ['udp://127.0.0.1:5300']}"
    control = edge(start, tmp_path, text(filesystem, tmp_path, "enabled", "dns", app))

    def asked(*more):
        return hosts.call("c", "dig", "@10.231.1.1", "+tries=1", "+time=2", *more, check=False)

    eventually(lambda: "NOERROR" in asked("example.org", "SOA"), 20, start.printed)
    before = program(control, "dns")
    hosts.python("c", NOISE)
    for more in (
        ("example.org", "SOA", "+noedns"),
        ("example.org", "NS", "+dnssec", "+bufsize=1232"),
        ("-y", "hmac-sha256:ours:c2VjcmV0c2VjcmV0", "example.org", "SOA"),
        ("nothing.example.org", "AAAA"),
        ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", "PTR"),
    ):
        said = asked(*more)
        assert "status: " in said and "no servers could be reached" not in said, (more, said)
    found = program(control, "dns")
    assert found["dropped"] - before["dropped"] == 300, (before, found)
    assert found["passed"] - before["passed"] == 5, (before, found)


# Who has said HELO may say anything from then on.
HELLO = b"HELO"
GREETED = """
#include <spectrum_flow.h>
FLOW_PROGRAM_WITH_STATE(packet, state)
{
	if (flow_u32(packet, 0) == 0x48454c4f)
		state->u32[0] = 1;
	return state->u32[0] ? FLOW_PASS : FLOW_DROP;
}
"""
# Datagrams of one who has not, 500 a second until a line comes; says how many.
STEADY = """
import select, socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind((sys.argv[1], 0))
    sock.connect((sys.argv[2], int(sys.argv[3])))
    sent = 0
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        sock.send(b"noise")
        sent += 1
print(sent)
"""


# What makes another version of the package: rules, and what flow programs are told, have another form.
OTHER = {
    "kernel/bpf/matching.h": [
        ("\t__u32 acknowledgement_mask;\n", "\t__u32 acknowledgement_mask;\n\t__u64 later[2];\n"),
        ("sizeof(struct slot) == 208", "sizeof(struct slot) == 224"),
    ],
    "kernel/filter/rules.py": [('14H8BI4I")', '14H8BI4I16x")')],
    "kernel/bpf/judging.h": [("\tstruct flow_packet packet;\n", "\t__u64 later;\n\tstruct flow_packet packet;\n")],
    "kernel/filter/flow_programs.py": [("_JUDGED_BYTES = 592", "_JUDGED_BYTES = 600")],
}


def other_version(folder):
    """Make a version of the package that has other forms in the kernel; return its interpreter."""
    package, kept = folder / "spectrum", ("filter.bpf.c", "flow_program.bpf.c")
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.c"))
    for name in kept:
        shutil.copy(PACKAGE / "kernel/bpf" / name, package / "kernel/bpf" / name)
    for name, changes in OTHER.items():
        text = (package / name).read_text()
        for before, after in changes:
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (package / name).write_text(text)
    subprocess.run(["sh", package / "kernel/bpf/build"], check=True)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


class Judged:
    """A daemon whose program has to judge all the time."""

    def __init__(self, lab, daemon):
        self._lab, self.daemon = lab, daemon

    def asks(self, source, payload):
        """Whether a datagram from a new port is answered."""
        with entered(self._lab.network.clients), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(source.ip), 0))
            sock.connect((FOUR, UDP_PORT))
            sock.settimeout(1)
            sock.send(payload)
            try:
                return sock.recv(1_000) == payload
            except TimeoutError:
                return False

    def status(self):
        try:
            return self.daemon.status()
        except DaemonError:  # it is replaced
            return {}

    def steady(self):
        """Send noise until a line is written to it."""
        with entered(self._lab.network.clients):
            command = [sys.executable, "-c", STEADY, str(CLIENTS_4[2].ip), FOUR, str(UDP_PORT)]
            return self._lab.stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )

    def helper(self):
        """The process id of the helper; 0 while there is none."""
        state, _, pid = self.status().get("kernel", {}).get("helper", "").partition(": pid ")
        return int(pid) if state == "on" else 0

    def dropped(self):
        return self._lab.count("flow_dropped game")

    def upgrade(self, *options):
        supervisor = self.status()["pid"]
        with entered(self._lab.network.edge):
            done = subprocess.run(
                [*spectrum("upgrade", "--socket", self.daemon.socket, *options)],
                capture_output=True,
                text=True,
                timeout=90,
            )
        assert done.returncode == 0, done.stderr
        eventually(lambda: self.status().get("pid", supervisor) != supervisor, 20, self.status)

    def goes_on(self, what):
        before = self.dropped()
        eventually(lambda: self.dropped() > before + 50, 10, lambda: f"{what}: {self.daemon.messages()}")
        eventually(lambda: self.asks(CLIENTS_4[1], b"greeted before"), 10, lambda: f"{what}: {self.daemon.messages()}")


def test_it_judges_without_a_gap(lab, tmp_path, require):
    require("clang")
    tmp_path.chmod(0o755)
    (source := tmp_path / "game.c").write_text(GREETED)
    daemon = lab.serve(
        f"  guard: [{CLIENTS_4[7].ip}/32]\n"
        f"ddos: {{store: {tmp_path}/learned, sensitivity_level: eoff}}\n"
        f"flow_programs: {{game: {{source: {source}, apps: [game], mode: enabled}}}}\n"
    )
    judged = Judged(lab, daemon)
    assert not judged.asks(CLIENTS_4[1], b"noise") and judged.asks(CLIENTS_4[1], HELLO)
    begin = judged.dropped()
    noise = judged.steady()
    judged.goes_on("nothing has happened")

    os.kill(helper := judged.helper(), signal.SIGKILL)
    judged.goes_on("the helper was killed")
    eventually(lambda: judged.helper() not in (0, helper), 20, judged.status)

    judged.upgrade()
    judged.goes_on("an upgrade")

    source.write_text(f"/* changed */{GREETED}")
    assert daemon.reload() == []
    judged.goes_on("a reload")
    workers = [worker["pid"] for worker in judged.status()["workers"]]
    os.kill(judged.status()["pid"], signal.SIGKILL)
    before = judged.dropped()
    eventually(lambda: judged.dropped() > before + 50, 10, daemon.messages)
    sent = int(noise.communicate("\n", timeout=20)[0])
    assert judged.dropped() - begin == sent, "one that was not judged went by"

    # A reboot, with the compiler gone: what was compiled is there.
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 20)
    text = daemon.path.read_text().partition("control:")[0]
    with entered(lab.network.edge):
        assert remove()
        again = lab.stack.enter_context(Daemon(tmp_path, text, env={"PATH": "/nowhere"}))
    judged = Judged(lab, again)
    assert not judged.asks(CLIENTS_4[1], b"noise") and judged.asks(CLIENTS_4[1], HELLO)


def test_it_judges_over_an_upgrade_to_another_version(lab, tmp_path, require):
    require("clang", "llvm-strip")
    tmp_path.chmod(0o755)
    python = other_version(tmp_path / "other")
    (source := tmp_path / "game.c").write_text(GREETED)
    daemon = lab.serve(
        f"  guard: [{CLIENTS_4[7].ip}/32]\n"
        f"  rules: {{pings: {{protocol: icmp}}, one: {{protocol: tcp, sequence: 5}}}}\n"
        f"ddos: {{store: {tmp_path}/learned, sensitivity_level: eoff}}\n"
        f"flow_programs: {{game: {{source: {source}, apps: [game], mode: enabled}}}}\n"
    )
    judged = Judged(lab, daemon)
    assert not judged.asks(CLIENTS_4[1], b"noise") and judged.asks(CLIENTS_4[1], HELLO)
    begin, rules = judged.dropped(), lab.filter.held()["file"].rules
    noise = judged.steady()
    judged.goes_on("nothing has happened")
    judged.upgrade("--python", python)
    # What programs are told has another form there, so they are loaded anew, and know nobody.
    eventually(lambda: judged.asks(CLIENTS_4[1], HELLO), 10, daemon.messages)
    judged.goes_on("an upgrade to another version")
    assert Path(f"/proc/{judged.helper()}/environ").read_text().count(f"PYTHONPATH={tmp_path / 'other'}") == 1
    with entered(lab.network.edge):
        folder = folder_of(DEFAULT_FILESYSTEM)
    slots = Map.pinned(folder / "filter_slots", 4, 224)
    held = [value[:208] for _, value in slots.items() if any(value)]
    slots.close()
    assert {rule[:188] for rule in rules.values()} <= {value[:188] for value in held}
    sent = int(noise.communicate("\n", timeout=20)[0])
    missed = sent - (judged.dropped() - begin)
    assert missed == 0, f"{missed} of {sent} passed while programs were loaded anew"
