import asyncio

from spectrum.core.life.service import ServiceEvent
from spectrum.link.channel import MAX_WAITING_BYTES
from spectrum.link.takeover import Events
from spectrum.plane.outbox import EVENT_BYTES
from spectrum.plane.processes.link import LinkEvent
from spectrum.plane.processes.sender import COLLECTED_BYTES
from tests.plane.processes.parts import process_parts


async def test_records_are_collected(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.serve()
        for _ in range(3):
            parts.sender.emit(1, b"{}\n", False)
        assert not parts.sender.is_empty
        assert await parts.supervisor.wait_for(Events) == Events(3, b"{}\n" * 3, "0/1", 1, has_sums=False)
        assert parts.sender.is_empty


async def test_many_are_sent_at_once(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.serve()
        line = b"x" * (EVENT_BYTES - 1) + b"\n"
        for _ in range(COLLECTED_BYTES // EVENT_BYTES):
            parts.sender.emit(1, line, False)
        assert parts.outbox.size == 0


async def test_what_the_link_does_not_take_waits_to_be_sampled(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.serve()
        parts.supervisor.channel.pause()
        line = b'{"Text":"%b"}\n' % (b"x" * 8192)
        for _ in range(200):
            parts.sender.emit(8, line * 8, False)
        assert 0 < parts.outbox.size <= MAX_WAITING_BYTES + COLLECTED_BYTES
        omitted = parts.outbox.take_omitted()
        assert omitted > 0
        parts.supervisor.channel.resume()

        def taken():
            return sum(message.count for message in parts.supervisor.messages if isinstance(message, Events))

        async with asyncio.timeout(10):
            while taken() + omitted < 1600:
                parts.sender.flush()
                await asyncio.sleep(0.01)
        assert parts.sender.is_empty and 0 < taken() < 1600


async def test_one_that_is_not_heard_keeps_them(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.serve()
        parts.supervisor.channel.close()
        assert await parts.link.receive() is LinkEvent.LOST
        parts.sender.take_back()
        parts.life.handle(ServiceEvent.LOST)
        parts.sender.emit(2, b"{}\n{}\n", False)
        parts.sender.flush()
        await asyncio.sleep(0)
        assert parts.outbox.size == 6 and not parts.sender.is_empty


async def test_what_was_sent_to_a_supervisor_that_is_gone_is_kept(tmp_path):
    """It has not been said that it is in the journal."""
    async with process_parts(tmp_path / "control") as parts:
        parts.serve()
        parts.outbox.has_journal = True
        parts.sender.emit(1, b"{}\n", False)
        parts.sender.flush()
        parts.supervisor.channel.close()
        assert await parts.link.receive() is LinkEvent.LOST
        parts.sender.take_back()
        assert parts.outbox.take().again
