import json
import os
import struct

import pytest

from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon
from tests.kernel.filter.test_program_trial import frame

SOURCE = """#include <spectrum_flow.h>
FLOW_PROGRAM(packet)
{
	return flow_u32(packet, 0) == 0x47414d45 ? FLOW_PASS : FLOW_DROP;
}
"""
# Of the daemon what is measured is of other tests; a worker with datagrams could not write it (landlock(7)).
UNMEASURED = {"COVERAGE_PROCESS_START": ""}


@pytest.fixture
def game(tmp_path, require):
    require("clang")
    path = tmp_path / "game.c"
    path.write_text(SOURCE)
    return path


def tried(*arguments):
    if os.geteuid() != 0:
        pytest.skip("BPF needs root")
    return spectrum("ddos", "program", "try", *arguments)


def captured(path, *frames):
    records = [struct.pack("=IIII", 1, 0, len(one), len(one)) + one for one in frames]
    path.write_bytes(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    return path


def test_payloads(game):
    lines = tried(game, "--payload", "47414d4501", "--payload", "00").output.splitlines()
    assert lines[0].startswith(f"{game}: the kernel accepts it: ") and lines[0].endswith(" instructions")
    rows = [line.split() for line in lines[1:]]
    assert rows[0] == ["datagram", "from", "bytes", "verdict", "dropped", "ns"]
    assert rows[1][:4] == ["1", "198.51.100.7", "5", "pass"] and rows[2][:5] == [
        "2",
        "198.51.100.7",
        "1",
        "drop",
        "yes",
    ]
    assert lines[4].startswith("1 pass, 1 drop; ") and lines[4].endswith(" ns each")
    assert tried(game).output.splitlines() == lines[:1]


def test_a_capture(game, tmp_path):
    tcp = bytearray(frame(bytes(40)))
    tcp[23] = 6
    frames = frame(b"GAME"), frame(b"noise", "2001:db8::7", "2001:db8::1"), bytes(tcp), frame(b"GAME", ports=(1, 53))
    path = captured(tmp_path / "game.pcap", *frames)
    found = tried(game, "--pcap", path, "--port", "9000", "--json")
    answer = json.loads(found.stdout)
    assert [(one["from"], one["bytes"], one["verdict"], one["dropped"]) for one in answer["datagrams"]] == [
        ("198.51.100.7", 4, "pass", False),
        ("2001:db8::7", 5, "drop", True),
    ]
    assert not answer["has_state"] and "2 packets are not datagrams" in found.stderr


def test_a_long_capture(game, tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.cli.ddos_programs.MOST_TRIED", 4)
    monkeypatch.setattr("spectrum.cli.ddos_programs.MOST_SHOWN", 3)
    found = tried(game, "--pcap", captured(tmp_path / "game.pcap", *[frame(b"GAME")] * 5))
    assert "the first 4 of 5 packets are tried" in found.stderr and "and 1 more" in found.stdout


def test_faults(game, tmp_path, monkeypatch):
    no_capture = tmp_path / "no.pcap"
    no_capture.write_bytes(b"none")
    monkeypatch.chdir(tmp_path)
    wrong, refused = tmp_path / "wrong.c", tmp_path / "refused.c"
    wrong.write_text(SOURCE.replace("packet, 0", "packt, 0"))
    refused.write_text(SOURCE.replace("flow_u32(packet, 0) == 0x47414d45 ?", "packet->payload[packet->length] ?"))
    for arguments, why in (
        ((game, "--payload", "4x"), "--payload 4x: hex digits"),
        ((game, "--pcap", no_capture), "no.pcap: "),
        ((game, "--pcap", tmp_path / "nothing"), "cannot be read: no such file"),
        (("wrong.c",), f"{wrong}:4: use of undeclared identifier 'packt'"),
        (("refused.c",), f"{refused}:4: the kernel does not take it: "),
        (("nothing.c",), "nothing.c: cannot be read"),
    ):
        found = tried(*arguments)
        assert found.exit_code == 1 and why in found.stderr, (arguments, found.output)


def test_programs_of_a_daemon(tmp_path, free_port, game):
    port = free_port()
    app = f"{{x: {{protocol: udp/{port}, edge_ips: [127.0.0.1], origin_direct: ['udp://127.0.0.1:1']}}}}"
    with Daemon(tmp_path, f"apps: {app}\n", env=UNMEASURED) as daemon:
        said = spectrum("ddos", "programs", "--socket", daemon.socket).output
    assert said == "there is no flow program; flow_programs in the file has them\n"
    programs = f"{{g: {{source: {game}, apps: [x], mode: disabled}}}}"
    with Daemon(tmp_path, f"apps: {app}\nflow_programs: {programs}\n", env=UNMEASURED) as daemon:
        lines = spectrum("ddos", "programs", "--socket", daemon.socket).output.splitlines()
        answer = json.loads(spectrum("ddos", "programs", "--json", "--socket", daemon.socket).output)
    assert [line.split() for line in lines] == [
        ["program", "mode", "apps", "judged", "passed", "would", "drop", "dropped", "ns", "each"],
        ["g", "disabled", "x", "0", "0", "0", "0"],
    ]
    assert answer["programs"]["g"]["file"] == str(game)
