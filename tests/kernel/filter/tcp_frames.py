"""Frames of TCP, and what the filter's program does with them."""

import struct
from ipaddress import ip_address

from spectrum.core.tcp_protection.policy import Policies, Policy
from spectrum.kernel.filter.tcp_protection import pack_policies
from tests.kernel.filter.running import run

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
DROP, PASS, TX = 1, 2, 3


def frame(source, destination, ports, flags, sequence=0, acknowledged=0, payload=b""):
    """Return a frame; its checksums are wrong, which XDP does not look at."""
    tcp = struct.pack("!HHIIBBHHH", *ports, sequence & 2**32 - 1, acknowledged & 2**32 - 1, 5 << 4, flags, 1000, 0, 0)
    tcp += payload
    ends = ip_address(source).packed + ip_address(destination).packed
    if ip_address(source).version == 4:
        return bytes(12) + b"\x08\x00" + struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + ends + tcp
    return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + ends + tcp


def policies(mode="enabled", rate=0.001, burst=3, flow=None, **more):
    """Return the same policy for both components, or another one for flows; no rate comes back during a test."""
    syn = Policy(mode, rate, burst, **more)
    return pack_policies(Policies((syn, flow or syn), (1, 2)))


class Judge:
    """Runs the program on frames, and tells what it counted for each."""

    def __init__(self, program, pinned):
        self.program = program
        self.pinned = pinned
        self.known = pinned.counts()

    def __call__(self, *of, **more):
        """Return the verdict and what it was counted as; "passed" where TCP protection says nothing."""
        verdict, _ = run(self.program, frame(*of, **more))
        before, self.known = self.known, self.pinned.counts()
        (name,) = (name for name, (packets, _) in self.known.items() if packets > before.get(name, (0, 0))[0])
        return verdict, name
