import json
import logging

import msgspec
import pytest

from spectrum.control.api.changes import MAX_LOGGED, ObjectChanges
from spectrum.control.configuration.reload import ServingAttempt
from spectrum.core.configuration.faults import Fault
from tests.control.api.parts import group
from tests.control.configuration.test_joined import Daemon, app


class Served:
    """Serves what changes lead to, unless it is told to refuse."""

    def __init__(self, folder):
        self.daemon = Daemon(folder, {"x": app(1)}).start()
        self.refuses, self.rollouts, self.places = lambda config: [], 0, ()
        self.busy = self.upgrading = ""
        self.recorded = []
        self.changes = ObjectChanges(
            self.daemon.source,
            self.serve,
            lambda: self.upgrading,
            lambda: self.rollouts,
            lambda *what: self.recorded.append(what),
        )

    async def serve(self, make):
        if self.busy:
            return ServingAttempt(self.busy)
        revision = make()
        self.rollouts += 1
        if errors := self.refuses(revision.config):
            return ServingAttempt(errors=errors, faults=self.places)
        self.daemon.take(revision.config)
        return ServingAttempt(steps=[("plan", 1, 2)])

    async def change(self, *groups):
        answer = await self.changes.answer(json.dumps({"groups": groups}).encode())
        assert answer["generation"] == self.rollouts
        return answer["busy"] or [[fault["message"] for fault in some] for some in answer["faults"]]


async def test_groups_of_several_go_into_one_rollout(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    served = Served(tmp_path)
    taken = "[::]:1 is taken by app x"
    found = await served.change(
        group("token ci", apps={"y": app(2)}), group(apps={"z": app(1)}), group(apps={"w": app(3)})
    )
    assert (found, served.rollouts, served.daemon.apps) == ([[], [taken], []], 1, ["w", "x", "y"])
    assert "changed by token ci: apps.y" in caplog.text
    assert f"refused to a test: apps.z: apps.z.protocol: {taken}" in caplog.text
    assert await served.change(group("", apps={"y": None, "w": app(4)})) == [[]]
    assert "changed by the API: removed apps.y, apps.w" in caplog.text
    assert served.recorded == [
        ("configurationChanged", 1, "token ci", ["set apps.y"]),
        ("configurationChanged", 1, "a test", ["set apps.w"]),
        ("configurationChanged", 2, "", ["removed apps.y", "set apps.w"]),
    ]


async def test_where_nothing_can_be_served_there_is_no_rollout(tmp_path):
    served = Served(tmp_path)
    (found,) = await served.change(group(apps={"x": app(2)}))
    assert "stands in" in found[0]
    assert served.rollouts == 0


async def test_one_that_is_refused_takes_no_other_one_with_it(tmp_path):
    served = Served(tmp_path)
    served.refuses = lambda config: ["z is not for us"] if "z" in config.apps else []
    found = await served.change(group(apps={"y": app(2)}), group(apps={"z": app(3)}), group(apps={"w": app(4)}))
    assert found == [[], ["z is not for us"], []]
    assert (served.rollouts, served.daemon.apps) == (4, ["w", "x", "y"])
    assert await served.change(group(apps={"z": app(3)})) == [["z is not for us"]]
    served.places = [Fault(("apps", "z", "edge_ips"), "not ours"), Fault(("api", "listen"), "taken", taken_by="z")]
    body = json.dumps({"groups": [group(apps={"z": app(3)})]}).encode()
    (faults,) = (await served.changes.answer(body))["faults"]
    assert faults == [
        {"place": ["apps", "z", "edge_ips"], "message": "not ours"},
        {"place": ["api", "listen"], "message": "taken", "taken_by": "z"},
    ]


async def test_a_busy_daemon_says_so_at_once(tmp_path):
    served = Served(tmp_path)
    served.busy = "the daemon is stopping"
    assert await served.change(group(apps={"y": app(2)})) == "the daemon is stopping"

    served.upgrading = "the daemon is being upgraded"
    assert await served.change(group(apps={"y": app(2)})) == served.upgrading
    served.upgrading = ""

    def upgrade(config):
        served.busy = "the daemon is being upgraded"
        return ["a line"]

    served.busy, served.refuses = "", upgrade
    found = await served.change(group(apps={"y": app(2)}), group(apps={"z": app(3)}))
    assert found == [["the daemon is being upgraded"]] * 2


@pytest.mark.parametrize("body", [b"", b"{}", b'{"groups": [{"objects": [{}]}]}', b'{"groups": 5}'])
async def test_what_is_not_asked_for_as_it_should_be(tmp_path, body):
    with pytest.raises(msgspec.MsgspecError):
        await Served(tmp_path).changes.answer(body)


async def test_the_log_has_the_first_ones_of_thousands(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    served = Served(tmp_path)
    assert await served.change(group(apps={f"a{n}": app(1000 + n) for n in range(MAX_LOGGED + 5)})) == [[]]
    assert "apps.a19 and 5 more" in caplog.text
    assert "apps.a20" not in caplog.text


async def test_whoever_traces_is_told_what_took_how_long(tmp_path):
    served = Served(tmp_path)
    body = {"groups": [group("a test", apps={"y": app(2)})], "trace": True}
    answer = await served.changes.answer(json.dumps(body).encode())
    assert answer["steps"] == [("plan", 1, 2)]
    served.upgrading = "the daemon is being upgraded"
    assert (await served.changes.answer(json.dumps(body).encode()))["steps"] == []
    del body["trace"]
    assert "steps" not in await served.changes.answer(json.dumps(body).encode())


async def test_what_is_only_checked_is_not_served(tmp_path):
    served = Served(tmp_path)
    asked = {"groups": [group(apps={"y": app(2)}), group(apps={"z": app(1)})], "check": True}
    answer = await served.changes.answer(json.dumps(asked).encode())
    assert [[fault["message"] for fault in some] for some in answer["faults"]] == [[], ["[::]:1 is taken by app x"]]
    assert (answer["busy"], served.rollouts) == ("", 0)
