import pytest

from spectrum.control.balancing.origins import OriginsActor, told
from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import ResourceRequest
from spectrum.core.balancing.overrides import Override
from spectrum.core.balancing.pools import Standing
from tests.control.keepers import Keeper
from tests.control.plans import change, first

TEXT = """
pools: {p: {origins: [{name: one, address: 192.0.2.1}, {name: two, address: 192.0.2.2}]}}
load_balancers: {lb: {default_pools: [p]}}
apps: {x: {protocol: tcp/1, load_balancer: lb}}
"""


class Daemon:
    def __init__(self, path):
        self.keeper = Keeper()
        self.served = Served(load_text(TEXT, "f"))
        self.actor = OriginsActor(path, self.served, self.keeper.health)
        self.resources = {resource.path.rpartition("/")[2]: resource.answer for resource in self.actor.resources()}

    async def serve(self):
        start = first(TEXT)
        self.actor.compile(start.after.snapshot)
        for actor in (self.served, self.actor):
            await actor.commit(start)
        self.keeper.apply(TEXT)
        return self

    async def set(self, what, origin, **more):
        return await self.resources[what](ResourceRequest({"origin": origin, **more}, uid=7))

    def standing(self, name):
        return self.keeper.health.standings[self.keeper.number(name)]

    async def status(self):
        return (await self.actor.status())["origins_by_hand"]


@pytest.fixture
async def make(tmp_path):
    made = []

    async def build():
        made.append(Daemon(tmp_path / "state" / "origins.json"))
        return await made[-1].serve()

    yield build
    for daemon in made:
        await daemon.keeper.health.stop()


async def test_what_is_set_is_kept_until_it_is_undone(make, caplog):
    daemon = await make()
    assert await daemon.status() == []
    assert (await daemon.set("drain", "p/one")) == {
        "changed": True,
        "message": "origin p/one is drained: no new sessions, open ones continue",
    }
    assert "origin p/one is drained: no new sessions, open ones continue, by uid 7" in caplog.text
    assert daemon.standing("p/one") == Standing(False, 0.0, "drain")
    assert (await daemon.set("drain", "p/one"))["message"].endswith(" already")
    await daemon.set("weight", "p/one", value="0.25")
    await daemon.set("weight", "p/two", value="0.5")
    after = await make()  # a restart
    assert "origin p/one: drained and weight 0.25 by hand since" in caplog.text
    for each in (daemon, after):
        assert each.standing("p/one").weight == 0.25
        one, two = await each.status()
        assert (one["origin"], one["out"], one["weight"], one["uid"], one["in_file"]) == (
            "p/one",
            "drain",
            0.25,
            7,
            True,
        )
        assert (two["origin"], two["out"], two["weight"]) == ("p/two", None, 0.5)
    out, weight = await after.actor.metrics()
    assert [(sample.labels, sample.value) for sample in out.samples] == [
        ({"pool": "p", "origin": "one", "how": "drain"}, 1)
    ]
    assert [sample.value for sample in weight.samples] == [0.25, 0.5]
    await after.set("enable", "p/one")
    assert after.standing("p/one").usable
    await after.set("weight", "p/one")
    assert (await after.set("weight", "p/two"))["message"] == "origin p/two has the weight of the file again"
    assert await after.status() == await (await make()).status() == []
    assert not (await after.set("enable", "p/one"))["changed"]


async def test_invalid_requests(make, tmp_path):
    daemon = await make()
    for what in ("disable", "drain", "enable", "weight"):
        with pytest.raises(ValueError, match='no origin "p/onee" in a pool; did you mean p/one\\?'):
            await daemon.set(what, "p/onee")
        with pytest.raises(ValueError, match='no origin "" in a pool; write POOL/ORIGIN'):
            await daemon.set(what, "")
    for value in ("x", "-1", "1.5", "nan"):
        with pytest.raises(ValueError, match=f'"{value}" is not a weight; write a number from 0 to 1'):
            await daemon.set("weight", "p/one", value=value)
    (tmp_path / "state").write_text("no folder")
    with pytest.raises(ValueError, match=r"it cannot be kept: .*; nothing has changed"):
        await daemon.set("disable", "p/one")
    assert await daemon.status() == []
    assert daemon.standing("p/one").usable


async def test_an_origin_that_leaves_the_file_keeps_what_is_set(make):
    daemon = await make()
    await daemon.set("disable", "p/one")
    await daemon.served.commit(change(TEXT, TEXT.replace("name: one", "name: other")))
    assert [(one["origin"], one["in_file"]) for one in await daemon.status()] == [("p/one", False)]
    assert (await daemon.set("enable", "p/one"))["changed"]


async def test_a_file_that_cannot_be_read_ends_the_start(tmp_path):
    (path := tmp_path / "origins.json").write_text('{"p/one": 1}')
    daemon = Daemon(path)
    with pytest.raises(RolloutError, match="which origins are set by hand cannot be read"):
        await daemon.serve()


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (Override(0.0, 7, "disable"), "disabled by hand since 1970-01-01T00:00:00+00:00, by uid 7"),
        (Override(0.0, 7, "", 0.5), "weight 0.5 by hand since 1970-01-01T00:00:00+00:00, by uid 7"),
        (Override(0.0, 7, "drain", 0.5), "drained and weight 0.5 by hand since 1970-01-01T00:00:00+00:00, by uid 7"),
    ],
)
def test_words(override, text):
    assert told(override) == text
