import pytest

from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import ResourceRequest
from spectrum.control.pauses import PausesActor
from tests.control.plans import first

TEXT = "apps: {web: {protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:1']}}"


class Daemon:
    """An actor of a daemon that serves TEXT, whose rollouts are refused for `faults`."""

    def __init__(self, path):
        self.served, self.faults = Served(load_text(TEXT, "f")), []
        self.actor = PausesActor(path, self.served, self.replan)
        self.snapshot = self.actor.compile(first(TEXT).after.snapshot)
        self.pause, self.resume = (resource.answer for resource in self.actor.resources())

    async def replan(self, change, undo):
        try:
            change()
        except RolloutError as exc:
            return [str(exc)]
        if self.faults:
            undo()
        else:
            self.snapshot = self.actor.compile(self.snapshot)
        return self.faults

    async def serve(self):
        await self.served.commit(first(TEXT))
        return self

    @property
    def paused(self):
        return [app.name for app in self.snapshot.apps if app.paused]


WEB = ResourceRequest({"app": "web"}, uid=7)


async def test_a_pause_is_kept_until_it_is_undone(tmp_path, caplog):
    path = tmp_path / "state" / "pauses.json"
    daemon = await Daemon(path).serve()
    assert (await daemon.actor.status(), daemon.paused) == ({"paused": []}, [])
    assert "open ones continue" in (await daemon.pause(WEB))["message"]
    assert "app web is paused by uid 7" in caplog.text
    assert daemon.paused == ["web"]
    after = await Daemon(path).serve()  # a restart
    assert after.paused == ["web"]
    (pause,) = (await after.actor.status())["paused"]
    assert (pause["app"], pause["uid"], pause["in_file"]) == ("web", 7, True)
    (family,) = await after.actor.metrics()
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"app": "web"}, 1)]
    again = await after.pause(WEB)
    assert not again["changed"]
    assert again["message"].startswith("app web is paused already, since 20")
    assert (await after.resume(WEB)) == {"changed": True, "message": "app web is resumed"}
    assert "app web is resumed by uid 7" in caplog.text
    assert after.paused == Daemon(path).paused == []
    assert (await after.resume(WEB))["message"] == "app web is not paused"


async def test_names_that_the_file_does_not_have(tmp_path):
    daemon = await Daemon(tmp_path / "pauses.json").serve()
    for change in (daemon.pause, daemon.resume):
        with pytest.raises(ValueError, match='there is no app "wbe"; did you mean web\\?'):
            await change(ResourceRequest({"app": "wbe"}))
        with pytest.raises(ValueError, match='there is no app ""; `spectrum status` shows all apps'):
            await change(ResourceRequest({}))
    (tmp_path / "pauses.json").write_text('{"gone": {"since": 0, "uid": 0}}')
    daemon = await Daemon(tmp_path / "pauses.json").serve()
    assert (await daemon.actor.status())["paused"][0]["in_file"] is False
    assert (await daemon.resume(ResourceRequest({"app": "gone"})))["changed"]


async def test_what_cannot_be_is_refused_and_nothing_changes(tmp_path):
    path = tmp_path / "state" / "pauses.json"
    daemon = await Daemon(path).serve()
    daemon.faults = ["worker 0 refuses", "all workers go on"]
    with pytest.raises(ValueError, match="worker 0 refuses\nall workers go on"):
        await daemon.pause(WEB)
    assert (daemon.paused, Daemon(path).paused) == ([], [])
    daemon.faults = []
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")
    with pytest.raises(ValueError, match=r"it cannot be kept: .*; nothing has changed"):
        await daemon.pause(WEB)
    assert (await daemon.actor.status())["paused"] == []


@pytest.mark.parametrize("content", ["{", '{"web": 1}', "[]"])
def test_a_file_that_cannot_be_read_ends_the_start(tmp_path, content):
    (path := tmp_path / "pauses.json").write_text(content)
    with pytest.raises(RolloutError, match=r"which apps are paused cannot be read: .*; if none is to be, remove the"):
        Daemon(path)
