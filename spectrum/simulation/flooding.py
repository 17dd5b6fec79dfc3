"""The process that sends a flood: `python -m spectrum.simulation.flooding PLAN`, a plan as JSON.

It builds its frames, reports that, waits for a line on its standard input, and then reports ten times a second how many
were sent.
"""

import sys
import zlib
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec
import numpy as np

from spectrum.simulation.aim import TargetApp, aimed
from spectrum.simulation.frames import Frames, build
from spectrum.simulation.normal import World
from spectrum.simulation.pcap import CaptureError, aimed_frames, read
from spectrum.simulation.sender import FrameSender, pin
from spectrum.simulation.vectors import EVERY

# Limit of frames that are built and sent repeatedly; the process has 280 MB for 500,000.
FRAMES, MOST_FRAMES = 262_144, 1_000_000
# Rules with `retry` take a frame that is repeated within this time for a retransmission.
FORGOTTEN_S = 5.0
READY = "ready"


class FloodPlan(msgspec.Struct, frozen=True):
    """A flood.

    Attributes:
        attack: The name of a vector, or the path of a capture.
        interface: The interface to send from.
        link: Link addresses: the destination's, then the source's.
        four: The app's IPv4 address.
        six: Its IPv6 address.
        ports: Its first and last port.
        per_s: Frames per second; 0 for as many as possible.
        seconds: The duration.
        core: The CPU that sends, and receives.
        frames: The number of frames to build.
    """

    attack: str
    interface: str
    link: bytes
    four: str | None
    six: str | None
    ports: tuple[int, int]
    per_s: float
    seconds: float
    core: int = 0
    frames: int = FRAMES


def frames_needed(per_s: float, seconds: float) -> int:
    """Return how many frames a flood needs, so that none is repeated while rules remember it."""
    return min(int(per_s * seconds) + 1, max(FRAMES, int(per_s * FORGOTTEN_S)), MOST_FRAMES)


def frames_of(plan: FloodPlan) -> Frames:
    """Return the frames of a plan.

    Raises:
        CaptureError: If the capture cannot be used.
        OSError: If it cannot be read.
    """
    target = TargetApp(
        IPv4Address(plan.four) if plan.four else None, IPv6Address(plan.six) if plan.six else None, plan.ports
    )
    if plan.attack not in EVERY:
        return aimed_frames(read(Path(plan.attack)), target, plan.link)
    seed = zlib.crc32(plan.attack.encode())
    packets = aimed(EVERY[plan.attack](World(seed), plan.frames), target)
    return build(packets, plan.link, np.random.default_rng(seed))


def main(text: str) -> None:
    """Send a flood by a plan as JSON."""
    plan = msgspec.json.decode(text, type=FloodPlan)
    pin(plan.core)
    try:
        sender = FrameSender(plan.interface, frames_of(plan))
    except (CaptureError, OSError) as exc:
        sys.exit(str(exc))
    with sender:
        _say(READY)
        sys.stdin.readline()
        _say(str(sender.run(plan.per_s, plan.seconds, lambda count: _say(str(count)))))


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
