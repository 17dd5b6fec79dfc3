"""Upgrades that are refused; those that are not are in tests/e2e/test_succession.py."""

import os
import signal

from spectrum.control.processes.succession import Successor
from spectrum.kernel.pins import PinError
from spectrum.link.succession import SuccessionError
from tests.control.keepers import until
from tests.control.supervised import app, supervised


async def test_a_successor_that_takes_nothing_over_changes_nothing(tmp_path, free_port, monkeypatch, caplog):
    async with supervised(tmp_path, f"apps:\n{app('x', free_port())}") as (daemon, _):
        given, restored, gone = [], [], []

        async def start(self, python, command):
            pass

        async def end(self):
            gone.append(self)

        monkeypatch.setattr(Successor, "start", start)
        monkeypatch.setattr(Successor, "end", end)
        for exception, says in (
            (SuccessionError("no room\nno time"), ["no room", "no time"]),
            (OSError(24, "Too many open files"), ["nothing can be handed over: too many open files"]),
        ):

            async def give(self, handover, exception=exception):
                given.append(handover)
                raise exception

            monkeypatch.setattr(Successor, "give", give)
            with monkeypatch.context() as patch:
                patch.setattr(daemon.features.bound, "apply", lambda snapshot, bank: restored.append(snapshot))
                assert (await daemon.upgrades.upgrade("")).errors == says
        assert len(gone) == 2 and restored == [daemon.served.snapshot] * 2
        assert [len(one.workers) for one in given] == [1, 1] and given[0].listeners and given[0].servers
        assert daemon.life.upgrading is None and daemon.life.successor is None
        assert (await daemon.reloads.reload()).errors == []

        def fail(*args):
            raise PinError("no map")

        monkeypatch.setattr(daemon.features.bound, "apply", fail)
        await daemon.upgrades.upgrade("")
        assert "after a refused upgrade not everything was restored: no map" in caplog.text
        monkeypatch.undo()


async def test_a_worker_that_has_just_been_replaced_is_handed_over_too(tmp_path, free_port, monkeypatch):
    """It would begin to serve after the others were given, and be ended with its sessions when this daemon leaves."""
    async with supervised(tmp_path, f"apps:\n{app('x', free_port())}", workers=2) as (daemon, _):
        given = []

        async def start(self, python, command):
            os.kill(daemon.fleet.workers[1].pid, signal.SIGKILL)
            await until(lambda: 1 not in daemon.fleet.workers)

        async def give(self, handover):
            given.extend(worker.pid for worker in handover.workers)
            raise SuccessionError("enough")

        monkeypatch.setattr(Successor, "start", start)
        monkeypatch.setattr(Successor, "give", give)
        await daemon.upgrades.upgrade("")
        assert sorted(given) == sorted(worker.pid for worker in daemon.fleet.serving()) and len(given) == 2
