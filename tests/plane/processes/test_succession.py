import os
import socket

from spectrum.core.life.service import ServiceEvent
from spectrum.core.snapshot import ListenerKey
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.sockets import open_listeners
from spectrum.link.flow_sockets import receive_sockets
from spectrum.link.takeover import Measures, Names, Released, Sockets, TakenOver
from tests.plane.processes.parts import process_parts


async def test_introduces_itself_with_all_that_it_serves_with(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        key = ListenerKey("127.0.0.1", 80, "tcp")
        (sock,) = open_listeners("127.0.0.1", 0, 1, "tcp")
        parts.generations.descriptors = {key: sock.detach()}
        parts.planes.resolve({"ANY a tcp 1-1": ("192.0.2.1",)})
        parts.succession.introduce()
        assert (await parts.supervisor.wait_for(TakenOver)).pid == os.getpid()
        kinds = [type(message) for message in parts.supervisor.messages]
        assert kinds == [Sockets, Names, TakenOver]
        assert parts.supervisor.descriptors == 2
        close_all(parts.generations.descriptors.values())


async def test_one_that_was_released_counts_again(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.serve()
        parts.succession.introduce_released()
        await parts.supervisor.wait_for(TakenOver)
        assert parts.supervisor.descriptors == 0
        assert not [message for message in parts.supervisor.messages if isinstance(message, Measures)]


async def test_leaves(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.serve()
        (sock,) = open_listeners("127.0.0.1", 0, 1, "udp")
        parts.generations.descriptors = {ListenerKey("127.0.0.1", 80, "udp"): sock.detach()}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        await parts.succession.leave([theirs.detach()])
        assert parts.generations.descriptors == {}
        with ours:
            assert await receive_sockets(ours) == {}
        parts.life.handle(ServiceEvent.RELEASE)
        parts.succession.say_left()
        await parts.supervisor.wait_for(Released)


async def test_leaves_without_a_worker_that_follows(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.planes.tcp.relay.records_per_s = 1000
        await parts.succession.leave([])
        assert parts.planes.tcp.relay.records_per_s == 0
        assert parts.planes.active == 0
