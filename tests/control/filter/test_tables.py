"""Tables that a feature gives the filter: when they are given, and what is put back."""

import asyncio
from dataclasses import replace

import pytest

from spectrum.control.configuration.actor import Change, ConfigDifference, Plan, RolloutError
from spectrum.control.filter.tables import FilterTablesActor
from spectrum.core.configuration.config import Config
from spectrum.core.snapshot import Snapshot
from spectrum.kernel.pins import PinError

FILTER = {"interfaces": ["lo"], "guard": ["192.0.2.1"]}


class Listed(FilterTablesActor[tuple[str, ...]]):
    """Gives the names of lists; the kernel takes none that is called "bad"."""

    what = "names"
    keys = frozenset({"lists"})

    def __init__(self):
        super().__init__()
        self.given = []

    def _wanted(self, config):
        return tuple(config.lists)

    def _give(self, wanted):
        if "bad" in wanted:
            raise PinError("it is bad")
        self.given.append(wanted)


def plan(*names, filter=FILTER, generation=1):
    lists = {name: {"kind": "ip", "items": ["192.0.2.0/24"]} for name in names}
    config = Config.model_validate({"lists": lists, "filter": filter})
    return Plan(config, Snapshot(generation, (), 0, True), {}, b"")


def test_what_is_given():
    async def main():
        actor, nothing, one, two = Listed(), plan(generation=0), plan("a"), plan("a", "b")
        await actor.prepare(Change(nothing, one))
        await actor.prepare(Change(one, plan("a")))
        assert actor.given == [("a",)], "what the kernel has is not given again"
        await actor.prepare(Change(one, replace(two, since=ConfigDifference(one.config, {"apps": ["x"]}))))
        assert actor.given == [("a",)], "another section's objects are none of it"
        await actor.prepare(change := Change(one, replace(two, since=ConfigDifference(one.config, {"lists": ["b"]}))))
        assert actor.given == [("a",), ("a", "b")]
        with pytest.raises(RolloutError, match="names in the kernel: it is bad"):
            await actor.prepare(Change(one, plan("bad")))
        await actor.abort(change)
        assert actor.given[2:] == [("a",)], "the filter may be another one by now"
        await actor.restore(one)
        assert actor.given[3:] == [("a",)]
        await actor.prepare(Change(one, plan("a", filter=None)))
        await actor.prepare(Change(one, one))
        assert actor.given[4:] == [("a",)], "a filter that was away has none"
        await actor.abort(Change(nothing, one))
        assert len(actor.given) == 5, "there is nothing to go back to"

    asyncio.run(main())
