import os
import socket

import msgspec
import pytest

from spectrum.core.ddos.attack_events import Attack, AttackEvent, AttackTarget
from spectrum.core.ddos.overrides import ManagedOverride, Setting
from spectrum.core.life.attack import AttackState
from spectrum.kernel.descriptors import memory_file
from spectrum.link.channel import Channel
from spectrum.link.detector import (
    DECODER,
    DetectorBeat,
    DetectorClient,
    DetectorCounts,
    DetectorEvents,
    DetectorHeld,
    DetectorParcel,
    DetectorReady,
    DetectorRule,
    DetectorRules,
    DetectorSampling,
    DetectorServing,
    DetectorSettings,
    DetectorState,
    found_in,
    send_told,
)
from tests.control.keepers import until

ATTACK = Attack(id="0" * 16, state=AttackState.MITIGATED, app="x", target=AttackTarget("10.0.0.1"), began=1.0, rules=())
RULE = DetectorRule("udp-1", b"\0" * 300, [b"\1" * 70_000], "UDP", 2**62, b"memory")
OVERRIDE = ManagedOverride("0" * 32, "ours", everything=Setting("low", "log"), rules=(("1" * 32, Setting()),))


@pytest.fixture
async def ends():
    """The supervisor's channel and the detector's client, with what each was told."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = len(os.listdir("/proc/self/fd"))
    ends = Channel(ours, DECODER, lambda *given: ends.came.append(given), lambda: None)
    ends.came, ends.told, ends.lost = [], [], []
    ends.client = DetectorClient(theirs, lambda *given: ends.told.append(given), lambda: ends.lost.append(1))
    yield ends
    ends.client.close()
    ends.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2


async def test_messages_to_the_detector(ends):
    told = [
        DetectorSettings({0: ("x", "udp/7000")}, Setting("low"), (OVERRIDE,)),
        DetectorHeld([RULE], 7, (ATTACK,)),
        DetectorCounts({"udp-1": (1, 2)}, 3),
    ]
    file = memory_file("looks", b"ring")
    for one in told:
        send_told(ends, one, [file])
    os.close(file)
    await until(lambda: len(ends.told) == 3)
    assert [one for one, _ in ends.told] == told
    for _, (descriptor,) in ends.told:
        assert os.pread(descriptor, 10, 0) == b"ring"
        os.close(descriptor)


async def test_what_the_detector_says(ends):
    found = [
        DetectorRules([RULE], 1),
        DetectorSampling(1, 16),
        DetectorEvents([AttackEvent(at=1.0, kind="began", attack=ATTACK)]),
        DetectorState(1.0, 2.0, 3, 0.01, 0.0, {"x": (5.0, True)}),
    ]
    for one in found:
        ends.client.tell(one)
    await until(lambda: len(ends.came) == 4)
    assert [found_in(*one) for one in ends.came] == found


async def test_heartbeats_and_the_end(ends):
    ends.client.ready()
    ends.client.serving()
    ends.send(DetectorBeat(7))
    ends.send(DetectorReady(), [1])
    await until(lambda: len(ends.came) == 3)
    assert [one for one, _ in ends.came] == [DetectorReady(), DetectorServing(), DetectorBeat(7)]
    ends.close()
    await until(lambda: ends.lost)


def test_what_is_none_of_it():
    with pytest.raises(msgspec.ValidationError):
        found_in(DetectorParcel(msgspec.msgpack.encode(["DetectorCounts", {}])), [])
