import os
import subprocess
import sys

import msgspec
import pytest

from spectrum.simulation.flooding import FRAMES, MOST_FRAMES, READY, FloodPlan, frames_needed, frames_of, main
from spectrum.wire.frames import parse
from tests.simulation.test_frames import LINK
from tests.simulation.test_pcap import flood, written

PLAN = FloodPlan("udp_fixed", "lo", LINK, "127.0.0.9", None, (7000, 7000), 2000, 0.5, 0, 64)


def test_frames_of_a_name_and_of_a_capture(tmp_path):
    for attack in ("udp_fixed", str(written(tmp_path / "f.pcap", flood("udp_fixed", 64)))):
        frames = frames_of(msgspec.structs.replace(PLAN, attack=attack))
        said = parse(frames[63])
        assert len(frames) == 64
        assert (str(said.destination), said.destination_port, said.length) == ("127.0.0.9", 7000, 540)


def test_how_many_frames_are_needed():
    assert frames_needed(1000, 2) == 2001
    assert frames_needed(10_000, 600) == FRAMES
    assert frames_needed(100_000, 10) == 500_000
    assert frames_needed(1_000_000, 10) == MOST_FRAMES


def test_what_cannot_be_sent(tmp_path):
    (tmp_path / "f.pcap").write_text("no capture")
    for fields, why in (
        ({"attack": str(tmp_path / "f.pcap"), "core": 4096}, "this is no capture of tcpdump's format"),
        ({"attack": str(tmp_path / "g.pcap"), "core": 4096}, "No such file"),
    ):
        with pytest.raises(SystemExit, match=why):
            main(msgspec.json.encode(msgspec.structs.replace(PLAN, **fields)).decode())


def test_the_process(require):
    require("unshare")
    if os.geteuid() != 0:
        pytest.skip("packets of one's own need root")
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$0" "$@"']
    command += [sys.executable, "-m", "spectrum.simulation.flooding", msgspec.json.encode(PLAN).decode()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == READY
        printed, _ = process.communicate("\n", timeout=30)
    counts = [int(line) for line in printed.splitlines()]
    assert len(counts) >= 2 and counts == sorted(counts) and 500 < counts[-1] <= 1000
