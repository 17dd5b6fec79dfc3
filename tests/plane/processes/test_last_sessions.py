import asyncio
import math

from spectrum.plane.processes import last_sessions as module
from spectrum.plane.processes.last_sessions import LastSessions
from tests.plane.processes.parts import process_parts


class Counted:
    """Planes with so many sessions."""

    def __init__(self, planes, active):
        self.udp, self.active = planes.udp, active


async def test_over_at_once_where_there_are_none(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        over = []
        LastSessions(parts.planes, lambda: over.append(1)).drain(math.inf)
        assert over == [1]


async def test_over_with_the_last_one(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RELEASED_TICK_S", 0.005)
    async with process_parts(tmp_path / "control") as parts:
        over, planes = asyncio.Event(), Counted(parts.planes, 1)
        LastSessions(planes, over.set).outlast(math.inf)
        await asyncio.sleep(0.02)
        assert not over.is_set()
        planes.active = 0
        await asyncio.wait_for(over.wait(), 10)


async def test_the_time_only_gets_shorter(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        over = asyncio.Event()
        last = LastSessions(Counted(parts.planes, 1), over.set)
        last.outlast(0.1)
        last.drain(1000)
        await asyncio.wait_for(over.wait(), 10)


async def test_stopped(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        over = []
        last = LastSessions(Counted(parts.planes, 1), lambda: over.append(1))
        last.drain(0.06)
        last.stop()
        await asyncio.sleep(0.1)
        assert over == []
