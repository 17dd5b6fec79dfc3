import asyncio
import json

import pytest

from spectrum.api.catalogue import NotLive
from spectrum.api.live import MOST_APPS, LiveFeed, LiveScope
from spectrum.store.objects import file_id
from tests.control.keepers import until

ACME, OTHER = LiveScope("acme"), LiveScope("other")
SSH, GAME = "ssh.example.com", "game"


class Supervisor:
    """Tells of apps as the test has them."""

    def __init__(self):
        self.apps, self.troubles, self.asked, self.at, self.away = {}, [], [], 1000.0, ""
        self.stepped_by = 0.0
        # Of a test that has it answer one question at a time.
        self.turns = None
        self._told = {}

    async def ask(self, method, path, query=None):
        assert (method, path) == ("GET", "/live")
        if self.turns is not None:
            await self.turns.acquire()
            await asyncio.sleep(0)  # first the one who waits for the answer
        self.asked.append(query["after"])
        if self.away:
            raise NotLive(self.away)
        self.at += 1
        is_all = len(self.asked) == 1 or query["after"] == "0"
        apps = {name: one for name, one in self.apps.items() if is_all or self._told.get(name) != one}
        self._told = {name: list(one) for name, one in self.apps.items()}
        return {
            "at": self.at + self.stepped_by,
            "monotonic": self.at,
            "number": len(self.asked),
            "is_all": is_all,
            "version": "9",
            "node": "fra-1",
            "generation": 7,
            "workers": {"wanted": 2, "serving": 2},
            "apps": {name: list(one) for name, one in apps.items()},
            "troubles": self.troubles,
        }


class Watching:
    """Somebody who looks; a message at a time."""

    def __init__(self, feed, scope, is_good=lambda: True):
        self.stream = feed.follow(scope, is_good)

    async def next(self):
        event = await asyncio.wait_for(anext(self.stream), 10)
        assert event.startswith(b"data: ") and event.endswith(b"\n\n")
        return json.loads(event[6:])

    async def turn(self, supervisor):
        """Have the daemon answer once, and return what is told then; who waits longer misses messages."""
        supervisor.turns.release()
        return await self.next()

    async def end(self):
        """Read until it ends."""
        async with asyncio.timeout(10):
            async for _ in self.stream:
                pass

    async def close(self):
        await self.stream.aclose()


@pytest.fixture
async def live(api):
    """Return the daemon, the feed, and a function to look with."""
    supervisor = Supervisor()
    feed = LiveFeed(supervisor, api.catalogue, every_s=0.02)
    opened = []

    def look(scope=ACME, **options):
        opened.append(Watching(feed, scope, **options))
        return opened[-1]

    yield supervisor, feed, look
    for one in opened:
        await one.close()
    await feed.stop()


def counted(opened=0, started=0, refused=0, failed=0, received=0, sent=0, dropped=0, **failures):
    return [opened, started, refused, failed, received, sent, dropped, failures]


def trouble(kind, severity="failed", section="", name="", apps=(), since=0.0, **facts):
    return {
        "kind": kind,
        "severity": severity,
        "section": section,
        "name": name,
        "since": since,
        "facts": facts,
        "apps": list(apps),
    }


async def test_nothing_is_asked_without_subscribers(live):
    supervisor, feed, look = live
    await asyncio.sleep(0.05)
    assert supervisor.asked == []
    one, other = look(), look()
    await one.next()
    await other.next()
    assert feed.listeners == 2
    await one.close()
    await other.close()
    await until(lambda: not feed._is_running)
    asked = len(supervisor.asked)
    await asyncio.sleep(0.08)
    assert (len(supervisor.asked), feed.listeners) == (asked, 0)
    assert (await look().next())["revision"] == 7, "it begins anew"


async def test_rates_are_what_is_more_than_a_second_ago(live):
    supervisor, _, look = live
    supervisor.turns = asyncio.Semaphore(0)
    watching = look()

    async def next_one(**counts):
        supervisor.apps[SSH] = counted(**counts)
        return await watching.turn(supervisor)

    first = await next_one(opened=3, started=10, received=1000)
    assert first["totals"] == {
        "open": 3,
        "new": None,
        "refused": None,
        "failed": None,
        "in": None,
        "out": None,
        "dropped": None,
    }
    message = await next_one(opened=5, started=16, refused=2, received=2000, sent=500)
    assert message["totals"] == {"open": 5, "new": 4, "refused": 2, "failed": 0, "in": 8000, "out": 4000, "dropped": 0}
    (row,) = message["apps"]
    assert (row["id"], row["name"], row["protocol"], row["in"]) == (file_id("apps", SSH), SSH, "tcp/22", 8000)
    still = await next_one(opened=5, started=16, refused=2, received=2000, sent=500)
    assert (still["totals"]["open"], still["totals"]["in"], still["apps"][0]["in"]) == (5, 0, 0)
    over = {"opened": 0, "started": 16, "refused": 2, "received": 2000, "sent": 500}
    assert (await next_one(**over))["totals"]["open"] == 0
    assert (await next_one(**over))["apps"] == [], "it has no session and no traffic"


async def test_each_sees_what_is_theirs(live):
    supervisor, _, look = live
    supervisor.apps |= {SSH: counted(opened=1), GAME: counted(opened=10), "gone": counted(opened=100)}
    supervisor.troubles = [
        trouble("origin_down", section="pools", name="p", apps=[GAME, SSH], origin="o"),
        trouble("worker_replaced", "degraded"),
    ]
    acme, other = await look(ACME).next(), await look(OTHER).next()
    assert (acme["totals"]["open"], [row["name"] for row in acme["apps"]]) == (1, [SSH])
    assert (other["totals"]["open"], [row["name"] for row in other["apps"]]) == (10, [GAME])
    assert [[app["name"] for app in one["apps"]] for one in acme["findings"]] == [[SSH], []]
    few = await look(LiveScope("acme", frozenset(["example.net"]), False, False)).next()
    assert (few["totals"]["open"], few["apps"], few["findings"], few["workers"]) == (0, [], [], None)
    zone = await look(LiveScope("acme", frozenset(["example.com"]), False, False)).next()
    assert zone["totals"]["open"] == 1 and [one["kind"] for one in zone["findings"]] == ["origin_down"]


async def test_findings_with_paths_or_other_accounts_need_full_permission(live):
    supervisor, _, look = live
    supervisor.troubles = [
        trouble("analytics_failing", "degraded", why="/var/lib/spectrum/analytics: no space left"),
        trouble("reload_refused", "degraded", why="f.yaml:7: apps.game: ..."),
        trouble("set_aside", section="apps", name="of nobody that is known"),
        trouble("worker_replaced", "degraded"),
    ]
    all_of_it = await look(ACME).next()
    assert all_of_it["finding_count"] == 4
    own = await look(LiveScope("acme", None, sees_node=True, sees_all=False)).next()
    assert [one["kind"] for one in own["findings"]] == ["worker_replaced"]
    none = await look(LiveScope("acme", None, sees_node=False, sees_all=False)).next()
    assert none["findings"] == []


async def test_all_of_one_scope_get_the_same_bytes(live):
    _, _, look = live
    watching = [look() for _ in range(5)]
    first = await asyncio.gather(*(anext(one.stream) for one in watching))
    assert all(one is first[0] for one in first)


async def test_findings_are_sorted_and_trouble_is_counted(live):
    supervisor, _, look = live
    supervisor.troubles = [
        trouble("certificate_ends", "degraded", "certificates", "c"),
        trouble("origin_down", section="pools", name="p", apps=[SSH], since=5.0),
        trouble("pool_down", section="pools", name="q", since=9.0),
    ]
    message = await look().next()
    assert [one["kind"] for one in message["findings"]] == ["pool_down", "origin_down", "certificate_ends"]
    assert message["trouble"] == {
        "apps": {"failed": 0, "degraded": 1},
        "pools": {"failed": 2, "degraded": 0},
        "certificates": {"failed": 0, "degraded": 1},
    }
    assert message["apps"][0]["severity"] == "degraded", "an app in trouble is shown, though it has no traffic"
    assert message["findings"][1]["apps"] == [{"id": file_id("apps", SSH), "name": SSH}]


async def test_what_is_over_is_told_last_and_is_no_trouble(live):
    supervisor, _, look = live
    supervisor.troubles = [
        trouble("attacks_ended", "past", "apps", SSH, apps=[SSH], since=9.0),
        trouble("attack", "degraded", "apps", SSH, apps=[SSH], since=5.0),
    ]
    message = await look().next()
    assert [one["kind"] for one in message["findings"]] == ["attack", "attacks_ended"]
    assert message["trouble"] == {"apps": {"failed": 0, "degraded": 1}}
    assert message["apps"][0]["why"] == "attack"
    supervisor.troubles = supervisor.troubles[:1]
    while len((message := await look().next())["findings"]) != 1:
        pass
    assert message["trouble"] == {} and message["apps"] == []


async def test_an_app_whose_sessions_fail_is_found(live):
    supervisor, _, look = live
    supervisor.apps[SSH] = counted(started=100)
    watching = look()
    await watching.next()
    supervisor.apps[SSH] = counted(started=110, failed=4, connect_refused=4)
    while (await watching.next())["totals"]["failed"]:
        pass
    assert not (await watching.next())["findings"], "four are few"
    supervisor.apps[SSH] = counted(started=120, failed=14, connect_refused=12, unresolved=2)
    while not (message := await watching.next())["findings"]:
        pass
    (one,) = message["findings"]
    assert (one["kind"], one["severity"], one["name"]) == ("app_failing", "failed", SSH)
    assert one["facts"] == {"failed": 14, "began": 20, "why": "connect_refused"}
    assert message["trouble"]["apps"] == {"failed": 1, "degraded": 0}
    supervisor.at += 100
    while (await watching.next())["findings"]:
        pass


@pytest.mark.parametrize("days", [-2, 2])
async def test_a_clock_that_is_stepped_changes_no_rate_and_ends_no_minute(live, days):
    supervisor, _, look = live
    supervisor.apps[SSH] = counted(started=100)
    watching = look()
    at = (await watching.next())["at"]
    supervisor.apps[SSH] = counted(started=120, failed=10, connect_refused=10)
    while not (message := await watching.next())["findings"]:
        pass
    supervisor.stepped_by = days * 86400.0
    while abs(message["at"] - at) < 86400:
        message = await watching.next()
        assert message["totals"]["failed"] is not None, "the second had its length all the same"
    assert message["findings"][0]["since"] == pytest.approx(message["at"], abs=60), "by the clock of now"
    supervisor.at += 100
    while (await watching.next())["findings"]:
        pass


async def test_an_app_that_moves_to_another_account(live, api):
    supervisor, _, look = live
    supervisor.apps[SSH] = counted(opened=4)
    watching = look(OTHER)
    assert (await watching.next())["totals"]["open"] == 0
    zone = api.catalogue.named("zones", "example.com")
    zone.value["account"] = "other"
    api.catalogue._index_all()
    supervisor.apps[SSH] = counted(opened=5)
    while (message := await watching.next())["totals"]["open"] != 5:
        pass
    assert message["apps"][0]["name"] == SSH
    assert (await look(ACME).next())["totals"]["open"] == 0


async def test_a_daemon_that_does_not_answer_is_reported(live):
    supervisor, _, look = live
    supervisor.turns = asyncio.Semaphore(0)
    watching = look()
    await watching.turn(supervisor)
    supervisor.away = "the daemon is being upgraded"
    assert await watching.turn(supervisor) == {"away": "the daemon is being upgraded"}
    supervisor.away = ""
    assert (await watching.turn(supervisor))["totals"]["new"] is None, "rates begin anew"


async def test_only_so_many_apps_are_reported(live, api):
    supervisor, _, look = live
    for i in range(2 * MOST_APPS):
        supervisor.apps[f"a{i}"] = counted(opened=i + 1)
    api.catalogue.fill({"apps": {f"a{i}": {"protocol": f"tcp/{i + 1}"} for i in range(2 * MOST_APPS)}}, ())
    message = await look(LiveScope("default")).next()
    assert len(message["apps"]) == MOST_APPS and message["apps"][0]["name"] == f"a{2 * MOST_APPS - 1}"
    assert message["app_count"] == 2 * MOST_APPS


async def test_a_stream_ends_with_its_authorization(live):
    _, feed, look = live
    good = True
    watching = look(is_good=lambda: good)
    await watching.next()
    good = False
    await watching.end()
    assert feed.listeners == 0


async def test_the_end(live):
    _, feed, look = live
    watching = look()
    await watching.next()
    await feed.stop()
    await watching.end()
    with pytest.raises(StopAsyncIteration):
        await look().next()


async def test_an_internal_error_ends_streams_and_is_logged(live, caplog):
    supervisor, _, look = live
    watching = look()
    await watching.next()
    supervisor.at = None
    await watching.end()
    assert "internal error" in caplog.text
