"""Upgrades that are refused; those that are not are in tests/e2e/test_succession.py."""

from spectrum.control.processes.succession import Successor
from spectrum.kernel.pins import PinError
from spectrum.link.succession import SuccessionError
from tests.control.supervised import app, supervised


async def test_a_successor_that_takes_nothing_leaves_all_as_it_was(tmp_path, free_port, monkeypatch, caplog):
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

            async def give(self, heritage, exception=exception):
                given.append(heritage)
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
        assert "after a refused upgrade not everything is as it was: no map" in caplog.text
        monkeypatch.undo()
