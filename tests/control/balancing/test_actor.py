import asyncio

import pytest

from spectrum.control.balancing.actor import HealthActor
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Asked
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


async def test_what_one_sees(made):
    one, served, _, actor = made
    resource, pool, balancing, *_ = actor.resources()
    asked = Asked({"app": "x", "client": "192.0.2.1"})
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
    assert await pool.answer(Asked({"pool": "p"})) == {
        "node": "local",
        "monitor_types": {"m": "tcp"},
        **status["pools"][0],
    }
    assert await balancing.answer(Asked({})) == {"node": "local", **status}
    with pytest.raises(ValueError, match="no pool 'q'"):
        await pool.answer(Asked({"pool": "q"}))
    for wrong in ({"app": "y", "client": "192.0.2.1"}, {"app": "x", "client": "c"}, {"app": "x", "port": "p"}):
        with pytest.raises(ValueError):
            await resource.answer(Asked(wrong))


async def test_a_preview_is_begun_and_read(made):
    one, served, _, actor = made
    *_, begin, preview = actor.resources()
    await served.commit(one)
    await actor.commit(one)

    async def asks(**monitor):
        return await begin.answer(Asked({}, {"owner": "a", "monitor": monitor, "pools": ["p"]}))

    assert (begin.method, begin.path, begin.has_body, preview.path) == ("POST", "/previews", True, "/preview")
    begun = await asks(type="tcp", timeout=1, retries=0)
    assert begun["pools"] == ["p"]
    asked = Asked({"owner": "a", "id": begun["id"]})
    await until_found(preview, asked)
    assert (await preview.answer(asked))["pools"]["p"]["origins"][0]["reason"] == "connection refused"
    assert await preview.answer(Asked({"owner": "b", "id": begun["id"]})) == {"pools": None}
    assert (await asks(type="tcp", path="/x"))["faults"] == [(["path"], "it goes with http and https, not with tcp")]
    await actor.close()


async def until_found(preview, asked):
    async with asyncio.timeout(10):
        while not (await preview.answer(asked))["pools"]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
