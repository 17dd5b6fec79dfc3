"""What is asked of workers about their sessions, and what they answer; workers are told apart by their kind."""

import asyncio

import msgspec
import pytest

from spectrum.control import sessions as module
from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import ResourceRequest
from spectrum.control.processes.former_workers import FormerWorker
from spectrum.control.processes.workers import WorkerProcess
from spectrum.control.sessions import SessionsActor, origin_names, parse_ids
from spectrum.core.life.former_worker import FormerWorkerState
from spectrum.core.life.worker import WorkerEvent, WorkerState
from spectrum.core.live_sessions import LiveSession, Selection
from spectrum.link.takeover import FoundSessions
from tests.control.plans import first

TEXT = """
apps: {web: {protocol: tcp/1, load_balancer: lb}}
load_balancers: {lb: {default_pools: [p], fallback_pool: p}}
pools: {p: {origins: [{name: one, address: 192.0.2.1, port: 22}, {name: two, address: 192.0.2.2, port: 22}]}}
"""
V4 = bytes([192, 0, 2, 9])
ONE = LiveSession("tcp", 0x1000007, "web", "relaying", V4, 5000, V4, 80, "192.0.2.1", 22, 2, 60_000, 500, 100, 200)
FLOW = LiveSession("udp", 9, "web", "young", V4, 53, V4, 53, "", 0, 0, 1000, 900, 5, 0)


class OwnWorker(WorkerProcess):
    """A worker of ours, without a process: what it is told is kept."""

    pid = 100

    def __init__(self, number=0):
        super().__init__(number, lambda *_: None, lambda *_: None, None)
        for event in (WorkerEvent.STARTED, WorkerEvent.TOLD):
            self.life.handle(event)
        self.life.answer(1)
        self.told = []

    def tell(self, message, descriptors=None):
        self.told.append(message)


class StoppedWorker(FormerWorker):
    def __init__(self):
        super().__init__(lambda *_: None, lambda *_: None)
        self.life.state = FormerWorkerState.RELIEVED
        self.pid, self.place, self.told = 50, 1, []

    def tell(self, message):
        self.told.append(message)


class Daemon:
    def __init__(self, *workers):
        self.served = Served(load_text(TEXT, "f"))
        self.workers = workers
        self.actor = SessionsActor(self.served, lambda: workers)
        self.show, self.kill = (resource.answer for resource in self.actor.resources())

    async def serve(self):
        await self.served.commit(first(TEXT))
        return self

    async def answer(self, of, *found, ask=None, total=None, **query):
        """Ask, and let workers answer with these sessions."""
        asked = (ask or self.show)(ResourceRequest(query, uid=7))

        async def tell():
            await asyncio.sleep(0)
            for worker, told in zip(of, found, strict=True):
                number = worker.told[-1].number
                self.actor.found(FoundSessions(number, told, total if total is not None else len(told), True))

        return (await asyncio.wait_for(asyncio.gather(asked, tell()), 10))[0]


async def test_what_workers_tell_is_one_answer():
    workers = OwnWorker(), StoppedWorker()
    daemon = await Daemon(*workers).serve()
    old = msgspec.structs.replace(ONE, age_ms=90_000, origin_number=0)
    answer = await daemon.answer(workers, [ONE, FLOW], [old])
    assert (answer["total"], answer["silent"]) == (3, [])
    assert [one["id"] for one in answer["sessions"]] == ["50.1000007", "100.1000007", "u0.9"]
    assert answer["sessions"][1] == {
        "id": "100.1000007",
        "transport": "tcp",
        "app": "web",
        "state": "relaying",
        "client": "192.0.2.9:5000",
        "edge": "192.0.2.9:80",
        "origin": "192.0.2.1:22",
        "origin_name": "p/one",
        "age_s": 60.0,
        "idle_s": 0.5,
        "bytes_from_client": 100,
        "bytes_from_origin": 200,
        "worker_pid": 100,
    }
    assert (answer["sessions"][2]["origin"], answer["sessions"][0]["origin_name"]) == (None, None)
    assert (workers[0].told[0].order, workers[0].told[0].limit, workers[0].told[0].ends) == ("age", 100, False)
    daemon.actor.found(FoundSessions(99, [], 0, True))  # nobody waits for it any more
    answer = await daemon.answer(workers, [FLOW], [ONE], limit="1", sort="idle")
    assert ([one["id"] for one in answer["sessions"]], answer["total"]) == (["u0.9"], 2)


@pytest.mark.parametrize(
    ("query", "selection"),
    [
        ({"app": "web"}, Selection(apps=("web",))),
        ({"client": "192.0.2.1/24"}, Selection(client="192.0.2.0/24")),
        ({"client": "2001:db8::1"}, Selection(client="2001:db8::1/128")),
        ({"older_than": "1m30s", "min_bytes": "10kB"}, Selection(min_age_ms=90_000, min_bytes=10_000)),
        ({"older_than": "5", "min_bytes": "7"}, Selection(min_age_ms=5000, min_bytes=7)),
        ({"origin": "two"}, Selection(numbers=(3,))),
        ({"origin": "p/one"}, Selection(numbers=(2,))),
        ({"origin": "192.0.2.1"}, Selection(origins=("192.0.2.1",))),
        ({"origin": "192.0.2.1:22"}, Selection(origins=("192.0.2.1:22",))),
        ({"origin": "2001:DB8::1"}, Selection(origins=("2001:db8::1",))),
        ({"origin": "[2001:db8::1]:22"}, Selection(origins=("[2001:db8::1]:22",))),
        ({"ids": "100.7,100.8,u0.9"}, Selection(names={"tcp": (7, 8), "udp": (9,)})),
    ],
)
async def test_what_is_asked_of_workers(query, selection):
    worker = OwnWorker()
    daemon = await Daemon(worker).serve()
    assert origin_names(daemon.served.snapshot) == {2: "p/one", 3: "p/two"}
    await daemon.answer([worker], [ONE], **query)
    assert worker.told[0].selection == selection
    assert (await daemon.answer([worker], [], ask=daemon.kill, total=4, **query))["killed"] == 4
    assert (worker.told[1].selection, worker.told[1].ends, worker.told[1].limit) == (selection, True, 0)


async def test_only_workers_that_may_have_them_are_asked():
    own, former, starting = OwnWorker(), StoppedWorker(), OwnWorker(2)
    starting.life.state, starting.life.generation = WorkerState.STARTING, 0
    daemon = await Daemon(own, former, starting).serve()
    await daemon.answer([former], [ONE], ids="50.7")
    await daemon.answer([former], [FLOW], ids="u1.7")
    assert [message.selection.names for message in former.told] == [{"tcp": (7,)}, {"udp": (7,)}]
    assert (await daemon.answer([], ids="99.7"))["total"] == 0
    assert own.told == starting.told == []


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ({"sort": "x"}, '"x" is not an order of sessions: age, bytes, idle, app, client'),
        ({"limit": "-1"}, 'limit: "-1" is not a number'),
        ({"limit": "10001"}, "limit: 10001 is more than 10000"),
        ({"client": "x"}, 'client: "x" is neither an address nor a prefix'),
        ({"origin": "three"}, 'origin: "three" is neither an address nor an origin of a pool'),
        ({"origin": "three:22"}, 'origin: "three:22" is neither an address'),
        ({"older_than": "x"}, "older_than: 'x' is not a duration"),
        ({"min_bytes": "x"}, "min_bytes: 'x' is not a size"),
        ({"ids": "1.2,x"}, '"x" is not an id of a session; `spectrum sessions` shows'),
        ({"ids": ",".join(["1.2"] * 501)}, "ids: 501 are more than 500"),
    ],
)
async def test_invalid_questions_are_reported(query, fault):
    daemon = await Daemon().serve()
    with pytest.raises(ValueError) as raised:
        await daemon.show(ResourceRequest(query))
    assert fault in str(raised.value)


async def test_faults_that_depend_on_what_there_is(caplog):
    worker = OwnWorker()
    daemon = await Daemon(worker).serve()
    with pytest.raises(ValueError, match='there is no app "wbe"'):
        await daemon.answer([worker], [], app="wbe")
    assert (await daemon.answer([worker], [ONE], app="gone"))["total"] == 1  # it was removed from the file
    with pytest.raises(ValueError, match="which sessions\\? name ids, an app"):
        await daemon.kill(ResourceRequest({}))
    await daemon.answer([worker], [], ask=daemon.kill, total=3, app="web", client="")
    assert "uid 7 ended 3 sessions and flows: app web" in caplog.text


async def test_workers_that_say_nothing_or_end(monkeypatch, caplog):
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.05)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    own, silent = OwnWorker(), StoppedWorker()
    daemon = await Daemon(own, silent).serve()
    answer = await daemon.answer([own], [ONE])
    assert (answer["total"], answer["silent"]) == (1, ["worker pid 50"])
    assert "no answer about sessions from worker pid 50 in time" in caplog.text
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 60)

    async def tell():
        await asyncio.sleep(0)
        daemon.actor.found(FoundSessions(own.told[-1].number, [ONE], 1, True))
        silent.life.state = FormerWorkerState.ENDED

    answer, _ = await asyncio.wait_for(asyncio.gather(daemon.show(ResourceRequest({})), tell()), 10)
    assert answer["total"] == 1


def test_ids():
    assert parse_ids(["1.a", "u1.b", "1.c"]) == {("tcp", 1): [10, 12], ("udp", 1): [11]}
    for text in ("", "1", "x1.2", "1.G", "-1.2"):
        with pytest.raises(ValueError, match=f'"{text}" is not an id of a session'):
            parse_ids([text])


TENANTS = """
accounts: {acme: {}, other: {}}
zones: {example.com: {account: acme}, example.net: {account: other}}
apps:
  ours: {protocol: tcp/1, zone: example.com, load_balancer: lb}
  more: {protocol: tcp/2, zone: example.com, load_balancer: lb}
  theirs: {protocol: tcp/3, zone: example.net, origin_direct: ["tcp://192.0.2.9:1"]}
load_balancers: {lb: {account: acme, default_pools: [p], fallback_pool: p}}
pools:
  p: {account: acme, origins: [{name: one, address: 192.0.2.1, port: 22}]}
  hidden: {account: other, origins: [{name: secret, address: 192.0.2.2, port: 22}]}
"""


@pytest.fixture
async def tenants(monkeypatch):
    monkeypatch.setattr("tests.control.test_sessions.TEXT", TENANTS)
    worker = OwnWorker()
    return await Daemon(worker).serve(), worker


async def test_of_an_account_its_apps_are_asked_for_and_no_others(tenants):
    daemon, worker = tenants
    await daemon.answer([worker], [], account="acme", client="192.0.2.9")
    await daemon.answer([worker], [], account="acme", app="ours")
    await daemon.answer([worker], [], account="acme", ids="100.7", ask=daemon.kill)
    assert [set(one.selection.apps) for one in worker.told] == [{"ours", "more"}, {"ours"}, {"ours", "more"}]
    worker.told.clear()
    for query in ({"account": "acme", "app": "theirs"}, {"account": "gone"}, {"account": "gone", "ids": "100.7"}):
        assert (await daemon.show(ResourceRequest(query)))["total"] == 0
        assert worker.told == []
    with pytest.raises(ValueError, match='"secret" is neither an address nor an origin of a pool'):
        await daemon.show(ResourceRequest({"account": "acme", "origin": "secret"}))
    with pytest.raises(ValueError, match="which sessions"):
        await daemon.kill(ResourceRequest({"account": "acme", "by": "token x", "min_bytes": "0"}))


async def test_who_ended_them_is_logged(tenants, caplog):
    daemon, worker = tenants
    await daemon.answer([worker], [], ask=daemon.kill, account="acme", app="ours", by='token "ci"', total=2)
    assert 'token "ci" ended 2 sessions and flows: account acme, app ours' in caplog.text


async def test_where_there_is_one_account_everything_is_its():
    worker = OwnWorker()
    daemon = await Daemon(worker).serve()
    await daemon.answer([worker], [ONE], account="default", app="gone")
    await daemon.answer([worker], [ONE], account="default")
    assert [one.selection.apps for one in worker.told] == [("gone",), ()]


async def test_many_apps_are_several_questions(tenants, monkeypatch):
    daemon, worker = tenants
    monkeypatch.setattr(module, "MAX_NAMES_BYTES", 5)
    asked = asyncio.ensure_future(daemon.show(ResourceRequest({"account": "acme"})))  # noqa: TID251
    await asyncio.sleep(0)
    for message in worker.told:
        daemon.actor.found(FoundSessions(message.number, [ONE], 1, True))
    assert (await asked)["total"] == 2
    assert {message.selection.apps for message in worker.told} == {("ours",), ("more",)}
