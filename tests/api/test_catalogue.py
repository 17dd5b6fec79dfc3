import asyncio
from dataclasses import replace

import pytest

from spectrum.api.catalogue import AT_REST_S, Cause, ChangeRefused, Conflict, NotLive, ObjectFault, ReadOnly
from spectrum.api.steps import Steps
from spectrum.store.audit import AuditFilter, Author
from spectrum.store.errors import StoreFull
from spectrum.store.objects import ObjectChange, file_id, new_id

AUTHOR = Author("token", "t" * 32, "ci", "192.0.2.1")
CAUSE = Cause(AUTHOR, "POST", "/client/v4/x", "ray")


def pool(name, value=None, object_id=""):
    return ObjectChange("pools", object_id or new_id(), name, {"account": "acme"} if value is None else value)


async def change(api, *changes, **rest):
    return await api.catalogue.change(changes, CAUSE, **rest)


async def test_a_change_is_served_kept_and_told_of(api):
    (made,) = await change(api, pool("p", {"account": "acme", "description": "first"}))
    assert api.daemon.live["pools", "p"]["description"] == "first"
    assert [one.id for one in api.store.objects()] == [made.id]
    assert api.catalogue.get("pools", made.id) == made
    (line,) = api.store.audit(AuditFilter(), 10)
    assert (line.action, line.section, line.name, line.before) == ("create", "pools", "p", None)
    assert (line.author, line.account, line.zone) == (AUTHOR, file_id("accounts", "acme"), "")
    assert (line.method, line.path, line.request_id, line.status) == ("POST", "/client/v4/x", "ray", 200)

    (after,) = await change(api, pool("p", {"description": "second"}, made.id))
    assert after.revision > made.revision
    assert await change(api, ObjectChange("pools", made.id, "p", None)) == []
    assert ("pools", "p") not in api.daemon.live
    assert api.catalogue.get("pools", made.id) is None
    assert [line.action for line in api.store.audit(AuditFilter(), 10)] == ["delete", "update", "create"]


async def test_a_refused_change_changes_nothing(api):
    fault = ObjectFault(("pools", "p", "origins"), "too few")
    api.daemon.refused["p"] = [fault]
    with pytest.raises(ChangeRefused, match="too few") as caught:
        await change(api, pool("p"), pool("q"))
    assert caught.value.faults == (fault,)
    assert api.catalogue.all("pools") == [] and list(api.store.objects()) == []


async def test_waiting_changes_are_applied_together_and_fail_separately(api):
    api.daemon.refused["p3"] = [ObjectFault(("pools", "p3"), "no")]
    done = await asyncio.gather(*(change(api, pool(f"p{i}")) for i in range(10)), return_exceptions=True)
    assert [isinstance(one, ChangeRefused) for one in done] == [i == 3 for i in range(10)]
    assert api.daemon.groups == [10]
    assert len(list(api.store.objects())) == 9


async def test_clients_that_send_one_change_after_another_go_together(api):
    async def client(number):
        for turn in range(4):
            await change(api, pool(f"p{number}-{turn}"))
            await asyncio.sleep(0.0001 * number)

    await asyncio.gather(*(client(number) for number in range(6)))
    assert sum(api.daemon.groups) == 24 and len(api.daemon.groups) < 12, "they do not take turns by halves"
    await asyncio.sleep(AT_REST_S * 1.1)
    await change(api, pool("alone"))
    assert api.daemon.groups[-1] == 1


async def test_changes_of_one_object_keep_their_order(api):
    (made,) = await change(api, pool("p"))
    await asyncio.gather(*(change(api, pool("p", {"n": i}, made.id)) for i in range(5)))
    assert api.daemon.live["pools", "p"] == {"n": 4}
    assert api.catalogue.get("pools", made.id).value == {"n": 4}


async def test_one_of_two_makers_of_a_name_gets_it(api):
    done = await asyncio.gather(change(api, pool("p")), change(api, pool("p")), return_exceptions=True)
    assert isinstance(done[1], Conflict) and not done[1].is_stale
    assert [one.id for one in api.store.objects()] == [done[0][0].id]


async def test_a_change_of_another_revision_is_a_conflict(api):
    (made,) = await change(api, pool("p"))
    await change(api, pool("p", {"n": 1}, made.id), expected={made.id: made.revision})
    with pytest.raises(Conflict, match="changed meanwhile") as caught:
        await change(api, pool("p", {"n": 2}, made.id), expected={made.id: made.revision})
    assert caught.value.is_stale
    await change(api, pool("p", {"n": 3}, made.id))
    await change(api, ObjectChange("pools", made.id, "p", None))
    with pytest.raises(Conflict, match="deleted meanwhile"):
        await change(api, pool("p", {"n": 4}, made.id), expected={made.id: made.revision})


async def test_an_object_may_get_another_name(api):
    (made,) = await change(api, pool("p"))
    await change(api, pool("q", None, made.id))
    assert set(api.daemon.live) == {("pools", "q")}
    assert api.catalogue.named("pools", "p") is None


async def test_the_files_objects_are_read_only(api):
    with pytest.raises(ReadOnly, match=r"game is read-only here: it is defined in spectrum\.yaml"):
        await change(api, ObjectChange("apps", file_id("apps", "game"), "game", None))
    with pytest.raises(ReadOnly, match="game"):
        await change(api, ObjectChange("apps", new_id(), "game", {}))


async def test_a_daemon_that_does_not_answer_changes_nothing(api):
    api.daemon.down = "the daemon is being upgraded"
    with pytest.raises(NotLive, match="upgraded") as caught:
        await change(api, pool("p"))
    assert caught.value.is_for_now
    api.daemon.down = ""
    await change(api, pool("p"))


async def test_changes_that_cannot_be_saved_are_rolled_back(api, monkeypatch):
    (kept,) = await change(api, pool("old", {"n": 1}))

    def full(*_):
        raise StoreFull("there is no room for the change")

    monkeypatch.setattr(api.store, "commit", full)
    for changes in ([pool("old", {"n": 2}, kept.id), pool("new")], [pool("newer", {}, kept.id)]):
        with pytest.raises(NotLive, match="no room") as caught:
            await change(api, *changes)
        assert not caught.value.is_for_now
    assert api.daemon.live == {("pools", "old"): {"n": 1}}
    assert api.catalogue.all("pools") == [kept]


async def test_failed_rollbacks_are_logged(api, monkeypatch, caplog):
    diverged = []
    monkeypatch.setattr(api.catalogue, "_diverged", lambda: diverged.append(1))

    def full(*_):
        api.daemon.down = "it is gone"
        raise StoreFull("full")

    monkeypatch.setattr(api.store, "commit", full)
    with pytest.raises(NotLive):
        await change(api, pool("p"))
    assert "may still be served" in caplog.text and diverged == [1]


async def test_a_change_with_an_unknown_result(api, monkeypatch):
    diverged = []
    monkeypatch.setattr(api.catalogue, "_diverged", lambda: diverged.append(1))

    async def lost(*_):
        raise NotLive("the daemon is gone", is_unknown=True)

    monkeypatch.setattr(api.daemon, "change", lost)
    with pytest.raises(NotLive, match="gone"):
        await change(api, pool("p"))
    assert diverged == [1]


async def test_an_internal_error_is_answered_and_the_next_change_continues(api, monkeypatch):
    monkeypatch.setattr(api.store, "commit", lambda *_: 1 / 0)
    with pytest.raises(NotLive, match="the log has more"):
        await change(api, pool("p"))
    assert api.daemon.live == {}
    monkeypatch.setattr(api.daemon, "change", lambda *_: 1 / 0)
    with pytest.raises(NotLive, match="the log has more"):
        await change(api, pool("p"))
    monkeypatch.undo()
    await change(api, pool("q"))


async def test_objects_are_fetched_again_between_changes(api):
    async def fill():
        api.catalogue.fill({"pools": {"f": {}}}, api.store.objects())

    await change(api, pool("p"))
    api.catalogue.refill(fill)
    await change(api, pool("q"))
    assert {one.name for one in api.catalogue.all("pools")} == {"f", "p", "q"}


async def test_the_end_answers_waiting_changes(api):
    waiting = asyncio.gather(change(api, pool("p")), return_exceptions=True)
    api.catalogue._rollouts = type("Slow", (), {"change": staticmethod(lambda _: asyncio.sleep(3600))})
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await api._tasks.stop()
    assert isinstance((await waiting)[0], NotLive)


async def test_a_traced_change_has_its_steps(api):
    steps = Steps()
    await api.catalogue.change([pool("p")], replace(CAUSE, steps=steps))
    assert [name for name, *_ in steps.all] == ["wait for the writer", "plan", "commit to the store"]
    api.daemon.refused["q"] = [ObjectFault(("pools", "q"), "too few")]
    with pytest.raises(ChangeRefused):
        await api.catalogue.change([pool("q")], replace(CAUSE, steps=steps))
    assert [name for name, *_ in steps.all[3:]] == ["wait for the writer", "plan"]
