import asyncio

import pytest

from spectrum.control.balancing.actor import HealthActor
from spectrum.control.configuration.actor import Change
from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.plan import Planner
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import ResourceRequest
from spectrum.core.difference import Difference
from spectrum.plane.memory import SharedMemory
from tests.control.keepers import Keeper
from tests.control.plans import change

TEXT = """
monitors: {m: {type: tcp}}
pools: {p: {origins: [ORIGINS], monitor: m}}
load_balancers: {lb: {default_pools: [p]}}
apps: {x: {protocol: tcp/1, load_balancer: lb}}
"""


def text(*addresses):
    return TEXT.replace("ORIGINS", ", ".join(f"{{name: o{one}, address: {one}, port: 9}}" for one in addresses))


@pytest.fixture
async def made():
    keeper, memory = Keeper(), SharedMemory(1, 64)
    one = change(text("127.0.0.1"), text("127.0.0.2", "127.0.0.3"))
    served = Served(one.before.config)
    yield one, served, keeper.health, HealthActor(keeper.health, {}, served, memory)
    await keeper.health.stop()
    memory.close()


async def test_a_rollout_that_is_undone_goes_by_the_former_origins(made):
    one, _, health, actor = made
    for step, each in ((actor.commit, one.after), (actor.abort, one.before)):
        await step(one)
        origins = [origin for pool in each.snapshot.pools for origin in pool.origins]
        assert {number: member.settings for number, member in health.members.items()} == {
            origin.number: origin for origin in origins
        }


class Told:
    """A worker that notes what it is told."""

    def __init__(self):
        self.names, self.health = [], []

    def tell_names(self, addresses):
        self.names.append(addresses)

    def tell_health(self, standings, latencies):
        self.health.append(standings)


async def test_a_worker_receives_the_origins_that_differ(made):
    one, _, health, actor = made
    await actor.commit(one)
    worker = Told()
    (pool,) = one.after.snapshot.pools
    actor.tell_difference(worker, Difference(1, 2, pools=(pool,)))
    assert worker.health == [{origin.number: health.standings[origin.number] for origin in pool.origins}]
    actor.tell_difference(worker, Difference(1, 2))
    assert (worker.names, len(worker.health)) == ([], 1)


@pytest.mark.parametrize("key", ["monitors", "apps"])
async def test_it_goes_by_what_differs_where_workers_do_not(made, key):
    one, _, health, actor = made
    await actor.commit(one)
    planner = Planner(lambda paths: None, lambda number: False)
    before = planner.plan(one.after.config, 1)
    monitor = before.config.monitors["m"].model_copy(update={"consecutive_down": 5})
    app = load_text("apps: {y: {protocol: tcp/2, origin_direct: ['tcp://192.0.2.1:2']}}", "f").apps["y"]
    config = before.config.changed({"monitors": {"m": monitor}} if key == "monitors" else {"apps": {"y": app}})
    change = Change(before, planner.change(before, config))
    assert change.difference is not None
    members = health.members
    await actor.commit(change)
    assert (health.members is members) is (key == "apps")
    await actor.abort(change)


@pytest.mark.parametrize(
    ("setting", "applied"), [({"timeouts": {"idle": 77}}, False), ({"proxy_protocol": "v2"}, True)]
)
async def test_an_app_of_a_load_balancer_concerns_it_by_its_header(made, setting, applied):
    one, _, health, actor = made
    await actor.commit(one)
    planner = Planner(lambda paths: None, lambda number: False)
    before = planner.plan(one.after.config, 1)
    app = {"protocol": "tcp/1", "load_balancer": "lb", **setting}
    config = before.config.changed({"apps": {"x": type(before.config.apps["x"]).model_validate(app)}})
    members = health.members
    await actor.commit(Change(before, planner.change(before, config)))
    assert (health.members is not members) is applied


async def test_status_and_metrics(made):
    one, served, _, actor = made
    resource, pool, balancing, *_ = actor.resources()
    asked = ResourceRequest({"app": "x", "client": "192.0.2.1"})
    with pytest.raises(ValueError, match="not serving yet"):
        await resource.answer(asked)
    assert await actor.status() == {"load_balancers": [], "pools": []}
    await served.commit(one)
    await actor.commit(one)
    status = await actor.status()
    assert [pool["name"] for pool in status["pools"]] == ["p"]
    assert [balancer["name"] for balancer in status["load_balancers"]] == ["lb"]
    assert "spectrum_pool_healthy" in {family.name for family in await actor.metrics()}
    assert (resource.method, resource.path) == ("GET", "/explain")
    assert (await resource.answer(asked))["steps"]
    assert await pool.answer(ResourceRequest({"pool": "p"})) == {
        "node": "local",
        "monitor_types": {"m": "tcp"},
        **status["pools"][0],
    }
    assert await balancing.answer(ResourceRequest({})) == {"node": "local", **status}
    with pytest.raises(ValueError, match="no pool 'q'"):
        await pool.answer(ResourceRequest({"pool": "q"}))
    for wrong in ({"app": "y", "client": "192.0.2.1"}, {"app": "x", "client": "c"}, {"app": "x", "port": "p"}):
        with pytest.raises(ValueError):
            await resource.answer(ResourceRequest(wrong))


async def test_a_preview_is_begun_and_read(made):
    one, served, _, actor = made
    *_, begin, preview = actor.resources()
    await served.commit(one)
    await actor.commit(one)

    async def asks(**monitor):
        return await begin.answer(ResourceRequest({}, {"owner": "a", "monitor": monitor, "pools": ["p"]}))

    assert (begin.method, begin.path, begin.has_body, preview.path) == ("POST", "/previews", True, "/preview")
    begun = await asks(type="tcp", timeout=1, retries=0)
    assert begun["pools"] == ["p"]
    asked = ResourceRequest({"owner": "a", "id": begun["id"]})
    await until_found(preview, asked)
    assert (await preview.answer(asked))["pools"]["p"]["origins"][0]["reason"] == "connection refused"
    assert await preview.answer(ResourceRequest({"owner": "b", "id": begun["id"]})) == {"pools": None}
    assert (await asks(type="tcp", path="/x"))["faults"] == [(["path"], "it is valid for http and https, not for tcp")]
    await actor.close()


async def until_found(preview, asked):
    async with asyncio.timeout(10):
        while not (await preview.answer(asked))["pools"]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
