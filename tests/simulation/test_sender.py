import os
import socket

import numpy as np
import pytest

from spectrum.simulation.frames import build
from spectrum.simulation.network import TrialNetwork, entered
from spectrum.simulation.normal import World
from spectrum.simulation.sender import FrameSender, pin
from spectrum.simulation.vectors import EVERY

ETH_P_IP, SO_RCVBUFFORCE = 0x0800, 33


def test_every_frame_goes_over_and_over_at_a_rate(require):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    frames = build(EVERY["udp_random"](World(1), 1000), bytes(12), np.random.default_rng(1))
    with (
        TrialNetwork(f"spe{os.getpid() % 100_000}") as network,
        entered(network.clients),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP)) as heard,
    ):
        heard.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        heard.bind(("lo", ETH_P_IP))
        with FrameSender("lo", frames) as sender:
            assert sender.send(2500) == 2500
            got = [heard.recv(4096) for _ in range(2500)]
            assert got[:1000] == got[1000:2000] == [frames[place] for place in range(1000)]
            told = []
            paced = sender.run(5000, 0.5, told.append)
            fast = sender.run(0, 0.2)
    assert 500 <= paced <= 2500
    assert told == sorted(told) and told[-1] <= paced
    assert fast > paced


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
