import json
import os

import numpy as np
import pytest

from spectrum.simulation.frames import build
from spectrum.simulation.normal import World
from spectrum.simulation.sender import FrameSender, pin
from spectrum.simulation.vectors import EVERY
from tests.kernel.isolation import isolated

# Sends some thousand frames on the loopback at a rate and without one, and counts what arrives.
SENT = """
import json, socket, sys, threading
import numpy as np
from spectrum.core.ddos.packets import Packets
from spectrum.simulation.frames import build
from spectrum.simulation.normal import World
from spectrum.simulation.sender import FrameSender
from spectrum.simulation.vectors import EVERY
ETH_P_IP = 0x0800
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as heard:
    heard.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    heard.bind(("lo", ETH_P_IP))
    frames = build(EVERY["udp_random"](World(1), 1000), bytes(12), np.random.default_rng(1))
    told = []
    with FrameSender("lo", frames) as sender:
        first = sender.send(2500)
        lengths, distinct = [], set()
        heard.setblocking(False)
        for _ in range(first):
            frame = heard.recv(4096)
            lengths.append(len(frame)), distinct.add(frame)
        paced = sender.run(5000, 0.5, told.append)
        fast = sender.run(0, 0.2)
    print(json.dumps([first, len(distinct), sum(lengths[:1000]), int(frames.frame_bytes.sum()), paced, fast, told]))
"""


def test_every_frame_goes_over_and_over_at_a_rate(require):
    require("unshare", "ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    first, distinct, had_bytes, frame_bytes, paced, fast, told = json.loads(isolated(SENT))
    assert (first, distinct, had_bytes) == (2500, 1000, frame_bytes)
    assert 1500 <= paced <= 2500
    assert told and told == sorted(told) and told[-1] <= paced
    assert fast > 2 * paced


def test_an_interface_that_is_not_there():
    frames = build(EVERY["syn_os"](World(1), 1), bytes(12), np.random.default_rng(1))
    with pytest.raises(OSError):
        FrameSender("nowhere", frames)


def test_pinned_to_a_core():
    before = os.sched_getaffinity(0)
    core = min(before)
    try:
        pin(4096)
        assert os.sched_getaffinity(0) == before
        pin(core)
        assert os.sched_getaffinity(0) == {core}
    finally:
        os.sched_setaffinity(0, before)
