import os
import time
from contextlib import ExitStack

import msgspec
import pytest

from spectrum.control.access import load_access
from spectrum.control.configuration.loader import load_text
from spectrum.core.configuration.config import Config
from spectrum.core.features import compile_snapshot
from spectrum.core.filter_rules import FilterRule
from spectrum.kernel.descriptors import close_all, memory_file
from spectrum.kernel.filter.rules import pack_rule
from spectrum.kernel.sockets import open_listeners
from spectrum.kernel.worker_looks import make_file
from spectrum.link.messages import HealthUpdate, Offloading, Watching, WorkerRule, WorkerRules
from spectrum.plane.memory import KNOWN_BYTES
from spectrum.plane.processes.planes import Planes
from tests.control.keepers import until
from tests.plane.processes.parts import process_parts
from tests.plane.workers import memory, proxy


def serve(planes, opened, text):
    """Have the planes go by a file; return the listeners that they have no use for."""
    snapshot = compile_snapshot(load_text(text, "x"), 1)
    sockets = {key: open_listeners(key.address, key.port, 1, key.transport)[0] for key in snapshot.listener_keys()}
    for sock in sockets.values():
        opened.enter_context(sock)
    access = memory_file("prefixes", load_access(Config())[1])
    try:
        return planes.serve(snapshot, access, {key: sock.fileno() for key, sock in sockets.items()})
    finally:
        os.close(access)


async def test_serve_and_stop(tmp_path, free_port):
    port = free_port()
    with ExitStack() as opened:
        async with process_parts(tmp_path / "control") as parts:
            planes = parts.planes
            assert serve(planes, opened, proxy(port, 1)) == set()
            planes.recover()
            planes.share_descriptors({"tcp", "udp"})
            assert planes.tcp.relay.max_sessions > 1 and planes.udp.engine.max_sockets > 1
            planes.resolve({"ANY a tcp 1-1": ("192.0.2.1",)})
            assert planes.names == {"ANY a tcp 1-1": ("192.0.2.1",)}
            planes.take_health(HealthUpdate({}, {}))
            planes.stop_accepting()
            planes.close_sessions()
            assert planes.active == 0


async def test_sessions_of_origins_that_leave_end_in_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("spectrum.plane.processes.planes.ORIGIN_DRAIN_TICK_S", 0.005)
    async with process_parts(tmp_path / "control") as parts:
        left = [[7], []]
        parts.planes.begin()
        parts.planes.tcp.drains.begin(("x", 1), lambda: left.pop(0) if left else [], 0.01, time.monotonic(), 0)
        await until(lambda: not parts.planes.tcp.drains.pending)


async def test_descriptors_are_for_the_transports_that_there_are(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        shares = []
        for transports in ({"tcp"}, {"udp"}, {"tcp", "udp"}):
            parts.planes.share_descriptors(transports)
            shares.append((parts.planes.tcp.relay.max_sessions, parts.planes.udp.engine.max_sockets))
        (tcp, _), (_, udp), (half, flows) = shares
        assert shares[0][1] == shares[1][0] == 1
        assert abs(udp - 2 * tcp) <= 1 and abs(half - tcp // 2) <= 1 and abs(flows - udp // 2) <= 1


async def test_tables_of_the_kernel_that_were_lost_are_not_used(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.planes.take_offload(Offloading(1, 8), [], True)
        assert parts.planes.udp.engine.offloaded == 0


async def test_what_is_shown_to_detection_and_its_rules(tmp_path):
    looks, known = make_file("looks"), make_file("known", KNOWN_BYTES)
    body = msgspec.msgpack.encode(WorkerRules([WorkerRule(pack_rule(FilterRule()), [])], [(bytes(16), b"\xff" * 16)]))
    async with process_parts(tmp_path / "control") as parts:
        lookout = parts.planes._lookout
        before = len(os.listdir("/proc/self/fd"))

        def tell(told):
            files = [os.dup(looks), os.dup(known), memory_file("rules", body)] if told.size else []
            parts.planes.take_watching(told, files)

        for _ in range(2):
            tell(Watching(1, 2, len(body)))
            assert lookout.on and lookout.rule_count == 1
        parts.planes.take_watching(Watching(1, 2, len(body)), [])  # its files were lost
        assert lookout.on and lookout.rule_count == 1
        tell(Watching())
        assert not lookout.on and lookout.rule_count == 0
        assert len(os.listdir("/proc/self/fd")) == before
    close_all([looks, known])


async def test_memory_that_cannot_be_used():
    message, files = memory()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Planes(message, [files[0], -1, *files[2:]], {}, lambda count, lines: None, lambda: None)
    close_all(files)
