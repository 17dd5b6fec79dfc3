"""Detection with a process that stands for the detector, and a helper that stands for the kernel."""

import asyncio
import json
import os
import signal
from dataclasses import replace

import pytest

from spectrum.control.configuration.actor import Change, ConfigDifference, Plan, RolloutError
from spectrum.control.ddos import actor as actors
from spectrum.control.ddos.actor import DdosActor
from spectrum.control.ddos.attacks import AttackBook
from spectrum.control.ddos.detection import KernelDetection
from spectrum.control.ddos.planes import DetectionPlanes
from spectrum.control.ddos.worker_detection import WorkerDetection
from spectrum.control.filter.node import NodeFilter
from spectrum.control.processes import keeper, linked
from spectrum.control.processes.kernel_counts import KernelCounts
from spectrum.core.configuration.config import Config
from spectrum.core.features import compile_snapshot
from spectrum.link.helper import SetDetection, SetDrops
from spectrum.tasks import Tasks
from tests.control.ddos.parts import STUB, FakeWorker, KernelsHelper
from tests.control.ddos.test_detection import APPS, FILTER
from tests.control.keepers import until


def plan(generation, places=(), **given):
    config = Config.model_validate(given)
    return Plan(config, compile_snapshot(config, generation), {}, b"", places)


class Daemon:
    """An actor whose configuration is rolled out."""

    def __init__(self, folder):
        self.folder, self.state = folder / "learned", folder / "rules.json"
        self.helper = KernelsHelper()
        self.places = ()
        self.before = plan(0)
        self.now = self.before
        self.workers = [FakeWorker(0), FakeWorker(1)]
        planes = DetectionPlanes(
            KernelDetection(self.helper, NodeFilter(self.helper)),
            KernelCounts(self.helper, "filter"),
            WorkerDetection(2, lambda: self.workers),
        )
        book = AttackBook(folder / "attacks", lambda records: None)
        self.actor = DdosActor(self.state, self, planes, book)
        self._tasks = Tasks()

    @property
    def config(self):
        return self.now.config

    def start(self):
        for name, job in self.actor.jobs().items():
            self._tasks.keep(job, name)

    async def serve(self, since=None, **given):
        after = replace(plan(self.now.snapshot.generation + 1, self.places, **given), since=since)
        change = Change(self.now, after)
        await self.actor.prepare(change)
        try:
            await self.actor.commit(change)
        except RolloutError:
            await self.actor.abort(change)
            raise
        self.now = change.after
        await self.actor.release(change)

    def say(self, *lines):
        with (self.folder / "say").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def told(self, kind):
        path = self.folder / "told"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(kind)]

    async def shown(self):
        return (await self.actor.status()).get("ddos", {})

    async def close(self):
        self.actor.leave()
        await self._tasks.stop()
        await self.actor.close()


@pytest.fixture
async def daemon(tmp_path, monkeypatch):
    monkeypatch.setattr(linked, "python", lambda module: STUB)
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(actors, "COUNT_S", 0.02)
    monkeypatch.setattr(actors, "RETRY_S", 0.02)
    monkeypatch.setattr(actors, "detector_user", lambda config: "")
    made = []

    def start():
        one = Daemon(tmp_path)
        one.start()
        made.append(one)
        return one

    yield start
    for one in made:
        await one.close()


def on(daemon, **given):
    return {"ddos": {"store": str(daemon.folder), **given}, **FILTER, **APPS}


async def test_rules_and_sampling_reach_the_kernel_and_the_next_detector(daemon, caplog):
    one = daemon()
    assert await one.shown() == {} and list(await one.actor.metrics()) == [] and list(one.actor.troubles()) == []
    await one.serve(**on(one))
    assert (await one.shown())["state"] == "starting"
    await until(lambda: one.actor.processes())
    await until(lambda: one.actor._state)
    assert (await one.shown())["state"] == "learning: in the next 30 s only what is an attack whatever is normal"
    one.say(["rules", "a", "b"], ["sampling", 2, 9], ["state", 0.0, False])
    await until(lambda: one.helper.last(SetDetection).used_one_in == 9)
    await until(lambda: one.state.exists())
    assert list(one.helper.last(SetDrops).drops.rules) == ["a", "b"]
    shown = await one.shown()
    assert [(rule["name"], rule["what"]) for rule in shown["rules"]] == [("a", "text of a"), ("b", "text of b")]
    assert [rule["packets"] for rule in shown["rules"]] == [0, 0]
    assert shown["one_in"] == {"idle": 2, "in_use": 9}
    assert shown["apps"] == {"x": {"learned_s": 5, "settled": False}}
    await until(lambda: one.actor._state.ready_s == 0)
    assert "rules about 1 of 1 apps only count" in (await one.shown())["state"]
    one.say(["state", 0.0, True])
    await until(lambda: one.actor._words() == "on")
    one.helper.counts = {"rule ddos/a": (5, 6), "rule x": (1, 1), "looks_lost": (3, 0)}
    await until(lambda: one.told("DetectorCounts") and "'a': (5, 6)" in one.told("DetectorCounts")[-1])
    assert "lost=3" in one.told("DetectorCounts")[-1]
    names = {family.name for family in await one.actor.metrics()}
    assert {"spectrum_ddos_up", "spectrum_ddos_ready"} <= names

    one.say(["forever", "c"])
    await until(lambda: "those in force expire: a rule for an attack ends within" in caplog.text)
    assert [rule["name"] for rule in (await one.shown())["rules"]] == ["a", "b"]

    (one.folder / "say").unlink()
    os.kill(one.actor.processes()["detector"], signal.SIGKILL)
    await until(lambda: one.actor._words().startswith("off: the detector does not run"))
    await until(lambda: len(one.told("DetectorHeld")) == 2)
    assert "text of a" in one.told("DetectorHeld")[1] and "last=2" in one.told("DetectorHeld")[1]
    await until(lambda: one.actor.processes())


async def test_a_change_of_objects_reaches_the_kernel_only_where_apps_are_served_elsewhere(daemon):
    one = daemon()
    for protocol, idle_s, tells in (("tcp/443", 6, True), ("tcp/443", 7, False), ("tcp/444", 7, True)):
        app = {"protocol": protocol, "origin_direct": ["tcp://192.0.2.9:1"], "timeouts": {"idle": idle_s}}
        asked, since = (
            one.helper.count(SetDetection),
            ConfigDifference(one.config, {"apps": ["x"]}) if idle_s > 6 else None,
        )
        await one.serve(since, **{**on(one), "apps": {"x": app}})
        assert one.helper.count(SetDetection) - asked == tells
    asked = one.helper.count(SetDetection)
    await one.serve(ConfigDifference(one.config, {"rulesets": ["r"]}), **{**on(one), "apps": {"x": app}})
    assert one.helper.count(SetDetection) == asked + 1


async def test_a_daemon_that_was_killed_left_its_rules(daemon):
    one = daemon()
    await one.serve(**on(one))
    await until(lambda: one.actor.processes())
    one.say(["rules", "a"])
    await until(lambda: one.state.exists())
    await one.close()
    (one.folder / "say").unlink()
    other = daemon()
    await other.serve(**on(other))
    kept = other.state.read_text()
    other.state.write_text(kept.replace("text of a", "text of the last"))  # by the daemon before, in an upgrade
    assert [rule["name"] for rule in (await other.shown())["rules"]] == ["a"]
    await until(lambda: len(other.told("DetectorHeld")) == 2)
    assert "text of the last" in other.told("DetectorHeld")[1]


async def test_workers_have_the_rules_in_force_before_they_serve(daemon):
    """A daemon that follows another one: its detector says nothing for a second, and an attack does not wait for it."""
    one = daemon()
    without_filter = {"ddos": {"store": str(one.folder)}, **APPS}
    await one.serve(**without_filter)
    await until(lambda: one.actor.processes())
    one.say(["rules", "a"])
    await until(lambda: one.state.exists())
    await one.close()
    (one.folder / "say").unlink()
    other = Daemon(one.folder.parent)  # its jobs do not run yet
    try:
        await other.serve(**without_filter)
        new = FakeWorker(1)
        other.actor.tell(new)
        assert [len(worker.rules.rules) for worker in (*other.workers, new)] == [1, 1, 1]
        await other.serve(**APPS)
        assert all(worker.rules == [] for worker in other.workers)
        assert other.helper.asked == []
    finally:
        await other.close()


async def test_places_of_sources_are_sent_with_the_files(daemon):
    one = daemon()
    places = {"geoip": {"database": "/nowhere.mmdb", "asn_database": __file__}}
    await one.serve(**on(one), **places)
    await until(lambda: one.told("DetectorHeld"))
    assert "brings=('looks', 'asn')" in one.told("DetectorSettings")[0]
    await one.serve(**on(one), **places)
    one.places = ("another file",)
    await one.serve(**on(one), **places)
    await until(lambda: len(one.told("DetectorSettings")) == 2)


async def test_other_settings_are_sent_and_none_ends_detection(daemon):
    one = daemon()
    await one.serve(**on(one))
    await until(lambda: one.actor.processes())
    await one.serve(**on(one, sensitivity_level="low"))
    await until(lambda: len(one.told("DetectorSettings")) == 2)
    assert "sensitivity_level='low'" in one.told("DetectorSettings")[1]
    pid = one.actor.processes()["detector"]
    await one.serve(**on(one), seccomp=True)
    await until(lambda: one.actor.processes().get("detector", pid) != pid)
    await one.serve(**FILTER)
    await until(lambda: not one.actor.processes())
    assert one.helper.last(SetDetection) == SetDetection(0, 0, b"")
    assert await one.shown() == {}
    await one.actor.drain()


async def test_what_the_kernel_refuses_is_tried_again_and_told(daemon, caplog):
    one = daemon()
    one.helper.refuses = "out of memory"
    with pytest.raises(RolloutError, match="ddos: in the kernel: out of memory"):
        await one.serve(**on(one))
    one.helper.refuses = ""
    await one.serve(**on(one))
    await until(lambda: one.actor.processes())
    one.helper.refuses = "busy"
    one.say(["rules", "a"])
    await until(lambda: one.actor._failure)
    (trouble,) = one.actor.troubles()
    assert (trouble.kind, trouble.facts) == ("ddos", {"why": "busy"})
    await asyncio.sleep(0.1)
    assert sum("busy" in message for message in caplog.messages) == 1
    one.helper.refuses = ""
    await until(lambda: not one.actor._failure and one.helper.last(SetDrops) and one.state.exists())
    await one.actor.restore(one.now)
    assert list(one.actor.troubles()) == []


async def test_a_folder_of_somebody_else(daemon, tmp_path):
    one = daemon()
    (tmp_path / "learned").write_text("no folder")
    with pytest.raises(RolloutError, match=r"ddos\.store"):
        await one.serve(**on(one, store=str(tmp_path / "learned" / "below")))
