"""Reloads of a `Supervisor` that runs in the test's process."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from spectrum.control.configuration import reload
from spectrum.control.configuration.actor import RolloutError
from tests.control.keepers import until
from tests.control.supervised import app, supervised


async def test_a_reload_does_not_outlive_the_service(tmp_path, free_port, monkeypatch):
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}") as (daemon, write):
        write(f"apps:\n{app('y', new)}")
        os.kill(daemon.fleet.workers[0].pid, signal.SIGSTOP)
        reloads = asyncio.gather(daemon.reloads.reload(), daemon.reloads.reload(), daemon.upgrades.upgrade(""))
        await until(daemon.reloads._applying.locked)
        daemon.stop()
        answers = await asyncio.wait_for(reloads, 2)
        assert [answer.errors for answer in answers] == [["the daemon is stopping"]] * 3
        for late in (daemon.reloads.reload(), daemon.upgrades.upgrade("")):
            assert (await late).errors == ["the daemon is stopping"]
        os.kill(daemon.fleet.workers[0].pid, signal.SIGCONT)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", new)


async def test_a_reload_tells_what_takes_a_restart_and_which_files_changed(tmp_path, free_port):
    port = free_port()
    blocked = tmp_path / "blocked"
    blocked.write_text("192.0.2.1\n")
    rule = f"access_rules: {{bad: {{target: ip_range, file: {blocked}, action: block}}}}\n"
    text, recorded = f"{rule}apps:\n{app('x', port, ', ip_firewall: true')}", []
    async with supervised(tmp_path, text) as (daemon, write):
        answer = await daemon.reloads.reload()
        assert (answer.errors, answer.changes, answer.restart) == ([], [], [])
        daemon.reloads._record = lambda *what: recorded.append(what)
        write(f"max_flows: 1000\n{text}")
        for _ in range(2):  # until it is restarted, or the file says so no more
            answer = await daemon.reloads.reload()
            assert (answer.changes, answer.restart) == ([], ["max_flows 100000 -> 1000"])
            assert (await daemon.pages.status())["restart_needed"] == ["max_flows 100000 -> 1000"]
            assert b"spectrum_config_restart_needed 1.0" in await daemon.pages.metrics()
        write(text)
        answer = await daemon.reloads.reload()
        assert (answer.changes, answer.restart) == ([], [])
        assert b"spectrum_config_restart_needed 0.0" in await daemon.pages.metrics()
        blocked.write_text("192.0.2.2\n")
        assert (await daemon.reloads.reload()).changes == [f"changed file {blocked}"]
        assert (await daemon.reloads.reload()).changes == []
        assert recorded == [("configurationReloaded", [f"changed file {blocked}"])]


async def test_a_file_that_cannot_be_read_to_its_end_holds_up_no_more_than_its_reload(tmp_path, free_port, monkeypatch):
    monkeypatch.setattr(reload, "READ_TIMEOUT_S", 0.3)
    # A pipe stands here for a file of a file system that does not answer.
    monkeypatch.setattr(Path, "is_fifo", lambda self: False)
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}") as (daemon, write):
        path = tmp_path / "f.yaml"
        text = path.read_text()
        path.unlink()
        os.mkfifo(path)
        for found in ("the file, or one that it names, is not read within 0.3 s", "is still being read"):
            assert found in (await daemon.reloads.reload()).errors[0]
        path.write_text(text)  # lets the reader go
        await until(lambda: daemon.reloads._reader.done())
        path.unlink()
        write(f"apps:\n{app('y', new)}")
        assert (await daemon.reloads.reload()).errors == []


async def test_a_stop_while_a_reload_reads_ends_it(tmp_path, free_port, monkeypatch):
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}") as (daemon, write):
        goes_on, read = threading.Event(), daemon._source.read
        monkeypatch.setattr(daemon._source, "read", lambda: (goes_on.wait(10), read())[1])
        write(f"apps:\n{app('y', new)}")
        reloads = asyncio.gather(daemon.reloads.reload())
        await until(lambda: daemon.reloads._reader is not None)
        daemon.stop()
        goes_on.set()
        assert (await reloads)[0].errors == ["the daemon is stopping"]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", new)


async def test_what_a_feature_has_beside_the_file_is_served_or_undone(tmp_path, free_port, monkeypatch):
    done = []

    def refuse():
        raise RolloutError("no\nnever")

    async with supervised(tmp_path, f"apps:\n{app('x', free_port())}") as (daemon, _):
        again, config = daemon.reloads.again, daemon.served.config
        assert await again(lambda: done.append("did"), lambda: done.append("undid")) == []
        assert (done, daemon.served.snapshot.generation, daemon.served.config is config) == (["did"], 2, True)
        assert await again(refuse, refuse) == ["no", "never"]
        monkeypatch.setattr(daemon.reloads._planner, "again", lambda plan: refuse())
        assert await again(lambda: done.append("did"), lambda: done.append("undid")) == ["no", "never"]
        assert (done, daemon.served.snapshot.generation) == (["did", "did", "undid"], 2)
        daemon.stop()
        assert await again(refuse, refuse) == ["the daemon is stopping"]
