"""What dropping a packet costs where a driver hands over frames that are no packets of the kernel's yet.

A card with XDP is imitated: BPF_PROG_TEST_RUN sends frames without an sk_buff (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18)
by a cable whose other end runs XDP itself. Sender and receiver share one core; what it takes to send a frame and to
hand it over is what "at once" takes, where a program drops everything unseen.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.flood import blocked_frame
from benchmarks.rounds import Figures, Rows, work_folder
from spectrum.kernel.libbpf import Object
from tests.e2e.hosts import Hosts

CORE = 0
ROWS: Rows = {
    "per_s": ("packets dropped by one core, which sends them too", "1/s", False),
    "ns": ("one packet, sent, handed over and dropped", "ns", True),
}
_RULE = "ip saddr 198.51.100.0/24 drop"
_NFT = {
    "nftables, ingress": "table netdev f { chain c { type filter hook ingress device e1a priority 0; "
    + _RULE
    + "; }; }",
    "nftables, prerouting": f"table ip f {{ chain c {{ type filter hook prerouting priority -300; {_RULE}; }}; }}",
    "nftables, input": f"table ip f {{ chain c {{ type filter hook input priority 0; {_RULE}; }}; }}",
}
WAYS = ("at once", "spectrum's filter", *_NFT)
_BATCH = 100_000
# bpf(2): its number on this machine, the command, and the flag for frames that really go.
_BPF = {"x86_64": 321, "aarch64": 280}
_TEST_RUN, _LIVE_FRAMES = 10, 2
_FILTER = """
import sys
from ipaddress import ip_network
from pathlib import Path
from spectrum.kernel.filter.attaching import load
from spectrum.kernel.filter.pinned import PinnedFilter
load(["e1a"], Path(sys.argv[1]))
with PinnedFilter(Path(sys.argv[1])) as one:
    one.guard([ip_network("203.0.113.0/24")])
    one.block({"bad": [ip_network("198.51.100.0/24")]})
"""
_AT_ONCE = """
import socket, sys
from pathlib import Path
from spectrum.kernel.libbpf import Object
program = Object(Path(sys.argv[2]).read_bytes(), {})
program.attach_to_interface("drop", socket.if_nametoindex("e1a"), Path(sys.argv[1]) / "drop")
"""
# ETHTOOL_SGRO (linux/ethtool.h): without XDP of its own the other end takes frames only so.
_TAKE_FRAMES = """
import fcntl, socket, struct
from array import array
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    command = array("B", struct.pack("II", 0x2C, 1))
    fcntl.ioctl(sock, 0x8946, struct.pack("16sP16x", b"e1a", command.buffer_info()[0]))
"""


def send(interface: str, frame: bytes, code: bytes, seconds: float) -> float:
    """Send a frame again and again, from this network namespace; return how many a second went."""
    os.sched_setaffinity(0, {CORE})
    program = Object(code, {}).program("send")
    data = ctypes.create_string_buffer(frame, len(frame))
    context = struct.pack("=6I", 0, len(frame), 0, socket.if_nametoindex(interface), 0, 0)
    kept = ctypes.create_string_buffer(context, len(context))
    library = ctypes.CDLL(None, use_errno=True)
    began, sent = time.monotonic(), 0
    while (took := time.monotonic() - began) < seconds:
        request = struct.pack(
            "=IIIIQQIIIIQQIII",
            *(program, 0, len(frame), 0, ctypes.addressof(data), 0, _BATCH, 0),
            *(len(context), 0, ctypes.addressof(kept), 0, _LIVE_FRAMES, 0, 64),
        )
        if library.syscall(_BPF[os.uname().machine], _TEST_RUN, request, len(request)) < 0:
            raise OSError(ctypes.get_errno(), "the kernel sends no frames")
        sent += _BATCH
    return sent / took


def measure_way(way: str, seconds: int) -> Figures:
    """Let frames of a blocked source come in, and be dropped in one way."""
    with work_folder("drops") as folder:
        source, code = Path(__file__).with_name("frames.bpf.c"), folder / "frames.bpf.o"
        include = f"/usr/include/{os.uname().machine}-linux-gnu"
        command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v2", "-I", include, "-c", source, "-o", code]
        subprocess.run(command, check=True)
        filesystem = folder / "bpf"
        filesystem.mkdir()
        subprocess.run(["mount", "-t", "bpf", "bpf", filesystem], check=True)
        hosts = Hosts("c", "e")
        try:
            hosts.cable("e", "c", 1)
            hosts.ip("e", "route", "add", "198.51.100.0/24", "via", "10.231.1.2")  # so that its address is no fault
            hosts.python("e", _TAKE_FRAMES)
            if way in _NFT:
                hosts.call("e", "nft", "-f", "-", text=_NFT[way])
            else:
                hosts.python("e", _AT_ONCE if way == "at once" else _FILTER, filesystem, code)
            script = "import sys; from benchmarks import drops; drops.main(*sys.argv[1:])"
            per_s = float(json.loads(hosts.python("c", script, blocked_frame(hosts), code, seconds)))
        finally:
            hosts.close()
            subprocess.run(["umount", filesystem], check=True)
    return {"per_s": per_s, "ns": 1e9 / per_s}


def main(frame: str, code: str, seconds: str) -> None:
    """Send by the client's end of the cable, and print how many a second went."""
    sys.stdout.write(json.dumps(send("e1b", bytes.fromhex(frame), Path(code).read_bytes(), float(seconds))))
