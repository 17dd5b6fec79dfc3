"""The detector's own process, with a supervisor's end of its link."""

import asyncio
import fcntl
import mmap
import os
import signal
import socket
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from spectrum.core.ddos.profile import Profile
from spectrum.detector import main
from spectrum.detector.main import DetectorService
from spectrum.kernel.descriptors import memory_file
from spectrum.kernel.installation import python
from spectrum.kernel.looks import RING_BYTES
from spectrum.kernel.worker_looks import AllLooks, make_file
from spectrum.link.channel import Channel
from spectrum.link.detector import (
    DECODER,
    LOOKS,
    DetectorBeat,
    DetectorCounts,
    DetectorHeld,
    DetectorParcel,
    DetectorReady,
    DetectorRules,
    DetectorSampling,
    DetectorServing,
    DetectorSettings,
    DetectorState,
    found_in,
    send_told,
)
from tests.control.keepers import until
from tests.detector.test_places import COUNTRIES, packets, written

SETTINGS = DetectorSettings({0: ("game", "udp/7000")}, learning_s=1.0)


class SupervisorsEnd:
    def __init__(self, sock):
        self.said, self.found = [], []
        self.gone = asyncio.Event()
        self.channel = Channel(sock, DECODER, self._received, self.gone.set)

    def _received(self, message, descriptors):
        if isinstance(message, DetectorParcel):
            self.found.append(found_in(message, descriptors))
        else:
            self.said.append(message)
            if isinstance(message, DetectorServing):
                send_told(self.channel, DetectorHeld())

    def states(self):
        return [one for one in self.found if isinstance(one, DetectorState)]


@pytest.fixture
async def linked():
    """A supervisor's end, and the other socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end = SupervisorsEnd(ours)
    yield end, theirs
    end.channel.close()
    theirs.close()


async def test_it_looks_until_its_supervisor_is_gone(linked, tmp_path):
    end, theirs = linked
    folder, log = tmp_path / "learned", tmp_path / "log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *python("spectrum.detector"),
            *map(str, (theirs.fileno(), folder, "-", 1, "profiles")),
            pass_fds=[theirs.fileno()],
            stderr=errors,
        )
    theirs.close()
    await until(lambda: DetectorReady() in end.said, 30)
    with (folder / "lock").open("w") as lock:  # another one keeps the folder still
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = memory_file("looks", b"")
        send_told(
            end.channel, replace(SETTINGS, brings=(LOOKS,)), [file]
        )  # no ring buffer: no attack is seen, and that is said
        os.close(file)
        await asyncio.sleep(0.2)
        assert DetectorServing() not in end.said
    await until(end.states, 30)
    end.channel.send(DetectorBeat(7))
    send_told(end.channel, DetectorCounts({}))
    send_told(end.channel, SETTINGS)
    await until(lambda: DetectorBeat(7) in end.said)
    await until(lambda: len(end.states()) > 2 and end.states()[-1].ready_s == 0)
    end.channel.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert "no attack is seen: the ring buffer of looks cannot be mapped" in log.read_text()
    assert (folder / "profiles").is_dir()


async def test_it_keeps_one_ring_buffer_and_ends_on_request(linked, tmp_path, monkeypatch):
    end, theirs = linked
    monkeypatch.setattr(main, "harden", lambda *given: tmp_path.mkdir(exist_ok=True))
    monkeypatch.setattr(main, "log_spare_signals", lambda loop: None)
    service = DetectorService(theirs.dup(), tmp_path, "-", False)
    running = asyncio.ensure_future(service.run())  # noqa: TID251
    await until(lambda: DetectorReady() in end.said)
    ring = os.memfd_create("ring")  # without any records
    os.truncate(ring, 2 * mmap.PAGESIZE + 2 * RING_BYTES)
    before = len(os.listdir("/proc/self/fd"))
    send_told(end.channel, replace(SETTINGS, brings=(LOOKS,)), [ring])
    await until(lambda: end.states(), 20)
    for descriptors in ([ring], [], [os.memfd_create("none")]):
        send_told(end.channel, replace(SETTINGS, brings=(LOOKS,) * len(descriptors)), descriptors)
    send_told(end.channel, DetectorCounts({}))
    send_told(end.channel, DetectorHeld(), [ring])  # it has been told
    count = len(end.states())
    await until(lambda: len(end.states()) > count, 20)
    os.close(ring)
    os.close(descriptors[0])
    workers = [make_file("looks"), make_file("looks")]  # the file has no filter any more
    settings = replace(SETTINGS, by_workers=True, brings=(LOOKS, LOOKS))
    send_told(end.channel, settings, workers)
    await until(lambda: isinstance(service._looks, AllLooks))
    send_told(end.channel, replace(SETTINGS, by_workers=True))
    for descriptor in workers:
        os.close(descriptor)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 2)  # the lock, and one ring buffer
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 5)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_a_folder_that_another_one_keeps(linked, tmp_path, monkeypatch):
    _, theirs = linked
    monkeypatch.setattr(main, "LOCK_TIMEOUT_S", 0.05)
    monkeypatch.setattr(main, "LOCK_STEP_S", 0.01)
    service = DetectorService(theirs.dup(), tmp_path, "-", False)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another detector keeps it"):
            await service._has_folder()
        service._ended.set()
        assert not await service._has_folder()
    service._client.close()


async def test_places_come_with_settings(linked, tmp_path, caplog):
    _, theirs = linked
    service = DetectorService(theirs.dup(), tmp_path, "-", False)
    written(tmp_path / "c.mmdb", COUNTRIES)
    files = [os.open(tmp_path / "c.mmdb", os.O_RDONLY), os.memfd_create("no database")]
    service._told(replace(SETTINGS, brings=("country", "asn")), files)
    assert "nothing is counted by asn: the file of geoip: it is not a MaxMind DB" in caplog.text
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(files[0])
    assert service._places["country"](packets(["192.0.2.1"])).tolist() == ["DE"]
    watch = SimpleNamespace(configure=lambda told, at: [], detector=SimpleNamespace(profile=Profile(1)))
    service._watch = watch
    service._told(replace(SETTINGS, brings=("asn",)), [os.memfd_create("no database")])
    assert watch.detector.profile.adaptive.places == {}
    service._client.close()


async def test_rules_that_could_not_be_sent_are_sent_again(linked, tmp_path, monkeypatch, caplog):
    def refused(client, found):
        raise OSError("no room")

    _, theirs = linked
    service = DetectorService(theirs.dup(), tmp_path, "-", False)
    monkeypatch.setattr(type(service._client), "tell", refused)
    asked = []
    watch = SimpleNamespace(rules_untold=lambda: asked.append("again"))
    service._tell([DetectorRules([], 0), DetectorSampling(1, 1)], watch)
    assert asked == ["again"] and "the supervisor is not told of DetectorSampling: no room" in caplog.text
    service._client.close()
