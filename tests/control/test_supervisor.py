"""A supervisor composes; its parts have tests of their own, and all together is in tests/e2e/test_daemon.py."""

import asyncio
import os
import signal

from tests.control.keepers import until
from tests.control.supervised import app, supervised


async def test_it_serves_and_leaves_nothing_behind(tmp_path, free_port, caplog):
    before = len(os.listdir("/proc/self/fd"))
    caplog.set_level("INFO")
    port, new = free_port(), free_port()
    async with supervised(tmp_path, f"apps:\n{app('x', port)}") as (daemon, write):
        write(f"apps:\n{app('y', new)}")
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: daemon.served.snapshot.generation == 2)
        write("apps: 5\n")
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: "SIGHUP: refused: " in caplog.text)
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert {"watch the configuration", "read the filter's samples", "watch the helper"} <= names
    assert "draining: 0 sessions have " in caplog.text and "stopped" in caplog.text
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)


async def test_asked_again_it_ends_at_once(tmp_path, free_port, caplog):
    caplog.set_level("INFO")
    async with supervised(tmp_path, f"apps:\n{app('x', free_port())}") as (daemon, _):
        daemon.stop()
        daemon.stop()
    assert "stopping at once" in caplog.text
