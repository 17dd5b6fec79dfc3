"""A configuration is live everywhere or nowhere: actors that only note what they do, then those of a daemon."""

import asyncio
import contextlib
import os
import socket

import pytest

from spectrum.control.configuration.actor import Actor, Plan, RolloutError
from spectrum.control.configuration.rollout import Rollout
from spectrum.control.configuration.served import Served
from spectrum.control.processes import snapshots
from spectrum.core.configuration.config import Config
from spectrum.core.snapshot import Snapshot
from spectrum.core.tls.settings import CertificateSettings, TlsFiles
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import ListenError
from spectrum.tasks import Tasks
from tests.control.keepers import until
from tests.control.supervised import app, pool, supervised

CONFIG = Config.model_construct(apps={})


class Noted(Actor):
    """Notes what it is told, and fails where it is to."""

    def __init__(self, name, notes, fails=()):
        self.name, self.notes, self.fails = name, notes, fails

    def _note(self, step):
        self.notes.append(f"{step} {self.name}")
        if step in self.fails:
            raise RolloutError(f"{self.name} cannot {step}")

    async def prepare(self, change):
        self._note("prepare")

    async def commit(self, change):
        self._note("commit")

    async def abort(self, change):
        self._note("abort")

    async def release(self, change):
        self._note("release")


async def plan():
    return Plan(CONFIG, Snapshot(1, (), 0, True), {}, b"")


def rollout(*fails):
    notes = []
    actors = [Noted(name, notes, fails) for name, fails in zip("ab", fails, strict=True)]
    return Rollout(Served(CONFIG), actors, lambda snapshot: snapshot), notes


async def test_all_commit():
    one, notes = rollout((), ())
    change = await one.run(plan)
    assert change.is_first and change.after.snapshot.generation == 1
    assert notes == ["prepare a", "prepare b", "commit a", "commit b", "release a", "release b"]


async def test_what_took_a_while_is_noted(monkeypatch):
    monkeypatch.setattr("spectrum.control.configuration.rollout.MIN_STEP_NS", 0)
    one, _ = rollout((), ())
    await one.run(plan)
    names = [name for name, began_ns, ended_ns in one.steps if began_ns <= ended_ns]
    assert names == [f"{step} Noted" for step in ("prepare", "commit", "release") for _ in "ab"]
    monkeypatch.setattr("spectrum.control.configuration.rollout.MIN_STEP_NS", 10**12)
    await one.run(plan)
    assert one.steps == []


async def test_a_configuration_that_cannot_be_read_concerns_no_actor():
    async def none():
        raise RolloutError("no such file")

    one, notes = rollout((), ())
    with pytest.raises(RolloutError, match="no such file"):
        await one.run(none)
    assert notes == []


async def test_the_first_failure_is_reported_and_others_are_logged(caplog):
    one, notes = rollout((), ("commit", "abort"))
    with pytest.raises(RolloutError, match="b cannot commit"):
        await one.run(plan)
    assert notes[-4:] == ["commit a", "commit b", "abort b", "abort a"]
    assert "after a refused reload not everything was restored" in caplog.text
    assert "b cannot abort" in caplog.text


async def test_what_is_served_stays_although_not_all_is_let_go(caplog):
    one, notes = rollout(("release",), ())
    await one.run(plan)
    assert notes[-2:] == ["release a", "release b"]
    assert "some resources of the former configuration were not released" in caplog.text


@pytest.mark.parametrize("step", ["prepare", "commit"])
async def test_a_rollout_that_is_cancelled_is_undone(step):
    one, notes = rollout((), ())
    waits = asyncio.Event()

    async def wait(change):
        waits.set()
        await asyncio.sleep(60)

    setattr(one._actors[1], step, wait)
    running = Tasks().start(one.run(plan), "rollout")
    await waits.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert notes[-2:] == ["abort b", "abort a"]


# --- the daemon ---------------------------------------------------------------------------------------------------


def state_of(daemon, port):
    """What a refused reload must leave as it is."""
    (listener,) = [sockets[0] for key, sockets in daemon._start.bank._sockets.items() if key.port == port]
    return {
        "plan": daemon.served.plan,
        "listeners": daemon._start.bank.keys(),
        "keepalive": listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        "names": set(daemon.features.names._watched),
        "health": {number: member.settings for number, member in daemon.features.health.members.items()},
        "standings": {number: standing.usable for number, standing in daemon.features.health.standings.items()},
        "numbers": dict(daemon.reloads._planner._numbers._assigned),
        "offload": daemon.features.offload.state,
        "filter": daemon.features.filter.state,
        "tickets": daemon.features.tickets.every_s,
        "log": (daemon.features.records._log._form.is_whole, daemon.features.records._log._per_second),
        "workers": [(worker.pid, worker.life.generation) for worker in daemon.fleet.serving()],
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


def texts(port, new):
    """Return two configurations that differ in something of each actor."""
    before = f"apps:\n{app('x', port)}" + pool("p")
    after = (
        f"log: {{sessions_per_second: 7}}\nsession_tickets: {{rotate: 2h}}\n"
        f"apps:\n{app('x', port, ', keepalive: {idle: 30}')}{app('y', new)}" + pool("q")
    )
    return before, after


async def refused(daemon, port, new, expected):
    """Reload, and return the errors, after a look at whether something changed."""
    reloaded = await daemon.reloads.reload()
    assert reloaded.errors and not reloaded.changes
    assert not daemon.reloads.last_successful
    with contextlib.suppress(TimeoutError):
        await until(lambda: state_of(daemon, port) == expected, 5)
    assert state_of(daemon, port) == expected
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", new)
    return reloaded.errors


async def serves_at_last(daemon, new):
    assert (await daemon.reloads.reload()).errors == []
    assert [worker.life.generation for worker in daemon.fleet.serving()] == [2, 2]
    assert daemon.reloads.last_successful
    socket.create_connection(("127.0.0.1", new)).close()  # that is all: its origin does not answer


async def test_each_actor_may_fail_at_each_step(tmp_path, free_port, monkeypatch):
    """Before it has done anything, and when it has done all."""
    port, new = free_port(), free_port()
    before, after = texts(port, new)
    async with supervised(tmp_path, before, workers=2) as (daemon, write):
        write(after)
        expected = state_of(daemon, port)
        for actor in daemon.reloads._rollout._actors:
            for step in ("prepare", "commit"):
                for fails_late in (False, True):
                    original = getattr(actor, step)

                    async def failing(change, original=original, fails_late=fails_late):
                        if fails_late:
                            await original(change)
                        raise RolloutError("it is refused")

                    with monkeypatch.context() as patch:
                        patch.setattr(actor, step, failing)
                        assert await refused(daemon, port, new, expected) == ["it is refused"], (actor, step)
        await serves_at_last(daemon, new)


def failing_once(exception, original):
    """Return a function that fails the first time; when what was changed is put back it does not."""
    calls = []

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise exception
        return original(*args, **kwargs)

    return fail


async def test_what_actors_use_may_fail(tmp_path, free_port, monkeypatch):
    port, new = free_port(), free_port()
    before, after = texts(port, new)
    error = OSError(24, "Too many open files")
    no_room = ["system call failed: too many open files"]
    ours = ["internal error, its traceback is in the log: ZeroDivisionError: a bug"]
    async with supervised(tmp_path, before, workers=2) as (daemon, write):
        write(after)
        expected = state_of(daemon, port)
        for owner, name, exception, says in [
            (daemon._start.bank, "open", ListenError("no port"), ["no port"]),
            (daemon._start.bank, "tune", error, no_room),
            (daemon.features.names, "watch", error, no_room),
            (daemon.features.offload, "apply", ZeroDivisionError("a bug"), ours),
            (daemon.features.bound, "apply", PinError("no map"), ["in the kernel: no map"]),
            (daemon.features.filter, "remove", PinError("no unlink"), ["in the kernel: no unlink"]),
            (daemon.features.health, "apply", ZeroDivisionError("a bug"), ours),
            (daemon.features.health, "addresses_for_workers", error, no_room),
            (daemon.features.records, "configure", error, no_room),
        ]:
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, failing_once(exception, getattr(owner, name)))
                assert await refused(daemon, port, new, expected) == says, name
        with monkeypatch.context() as patch:  # memory files, of the first and of the second worker's turn
            patch.setattr(snapshots, "memory_file", lambda *_: (_ for _ in ()).throw(error))
            assert await refused(daemon, port, new, expected) == no_room

        # One worker cannot, the other one could.
        with monkeypatch.context() as patch:
            broken = TlsFiles((CertificateSettings("c", b"none", b"none", b"", ()),))
            patch.setattr("spectrum.control.configuration.plan.load_tls", lambda config: broken)
            *lines, last = await refused(daemon, port, new, expected)
            assert [line.split(" (pid")[0] for line in lines] == ["worker 0", "worker 1"]
            assert last == "all workers continue with generation 1"
        await serves_at_last(daemon, new)
