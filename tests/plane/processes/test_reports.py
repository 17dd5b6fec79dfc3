import asyncio
import gc
from contextlib import suppress

import pytest

from spectrum.core.life.service import ServiceEvent
from spectrum.link.messages import Applied, OutcomesReport
from spectrum.link.takeover import Drain, Measures
from spectrum.plane.worker import work
from tests.control.keepers import until
from tests.plane.processes.parts import process_parts
from tests.plane.workers import configure, pair, proxy


def started(messages):
    """How many sessions of app x began."""
    return sum(m.apps["x"].started for m in messages if isinstance(m, Measures) and "x" in m.apps)


@pytest.mark.stands_for_a_process
async def test_a_supervisor_that_does_not_read_is_sent_no_more(free_port, monkeypatch, tmp_path):
    """Counts add up in the worker meanwhile, and arrive once it reads again."""
    monkeypatch.setattr("spectrum.plane.processes.reports.REPORT_INTERVAL_S", 0.002)
    port = free_port()
    supervisor, link = pair(tmp_path / "control", buffer_bytes=8192)
    loop = asyncio.get_running_loop()

    async def visits(count):
        for _ in range(count):
            with suppress(ConnectionResetError):  # its origin refuses
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await reader.read()

    async def supervise():
        configure(supervisor.channel, proxy(port, 1))
        await supervisor.wait_for(Applied)
        loop.remove_reader(supervisor.channel.fileno())
        await until(lambda: link.waits)
        for _ in range(3):
            await visits(10)
            await asyncio.sleep(0.1)  # fifty reports
            assert len(link._channel._waiting) < 10
        loop.add_reader(supervisor.channel.fileno(), supervisor.channel._read)
        await until(lambda: started(supervisor.messages) == 30)
        supervisor.channel.send(Drain(1))

    await asyncio.wait_for(asyncio.gather(supervise(), work(link)), 20)
    gc.unfreeze()


async def test_reports_while_it_is_heard(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.reports.report(1)  # nobody asked one that serves nothing
        parts.serve()
        parts.reports.report(2)
        assert (await parts.supervisor.wait_for(Measures)).number == 2
        parts.life.handle(ServiceEvent.LOST)
        parts.reports.report(3)
        parts.life.handle(ServiceEvent.ASKED)
        parts.reports.report(4)
        parts.life.handle(ServiceEvent.RELEASE)
        parts.life.handle(ServiceEvent.LEFT)
        parts.reports.count_anew()  # there are no sessions
        parts.reports.report(5)
        await parts.supervisor.wait_for(Measures, lambda measures: measures.number == 5)
        assert [message.number for message in parts.supervisor.messages if isinstance(message, Measures)] == [2, 5]


async def test_what_clients_met_at_origins_is_told_soon(tmp_path):
    async with process_parts(tmp_path / "control") as parts:
        parts.serve()
        parts.planes.balancers.outcomes_of(7).connect_failed("refused")
        parts.reports.report_outcomes_soon()
        parts.reports.report_outcomes_soon()
        assert list((await parts.supervisor.wait_for(OutcomesReport)).outcomes) == [7]
