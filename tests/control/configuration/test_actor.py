from dataclasses import replace

import pytest

from spectrum.control.configuration.actor import Actor, Change
from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.plan import Planner
from tests.control.plans import change, first

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"


def test_a_start_has_nothing_to_go_back_to():
    assert first(APPS).is_first
    assert not change(APPS, APPS).is_first


async def test_an_actor_leaves_out_what_it_does_not_need():
    actor, one = Actor(), change(APPS, APPS)
    await actor.prepare(one)
    await actor.commit(one)
    await actor.abort(one)
    await actor.release(one)
    actor.tell(None)
    actor.tell_difference(None, None)


BALANCING = """
monitors: {m: {type: tcp}, n: {type: http}}
monitor_groups: {g: {members: [{monitor: m}]}}
pools: {p: {origins: [{name: o, address: 192.0.2.1, port: 1}], monitor: m}}
load_balancers: {l: {default_pools: [p]}}
"""


@pytest.mark.parametrize(
    ("key", "one", "pools", "balancers"),
    [
        ("pools", "p", ["p"], []),
        ("load_balancers", "l", [], ["l"]),
        ("monitors", "n", [], []),
        ("monitor_groups", "g", [], []),
    ],
)
def test_what_differs_of_load_balancing(key, one, pools, balancers):
    """Also where it is nothing that workers have a part in: all they are told is the generation."""
    planner = Planner(lambda paths: None, lambda number: False)
    before = planner.plan(load_text(APPS + BALANCING, "f"), 1)
    gone = before.config.changed({key: {one: None}}) if not pools else None
    other = before.config.pools["p"].model_copy(update={"minimum_origins": 2})
    found = Change(before, planner.change(before, gone or before.config.changed({"pools": {"p": other}}))).difference
    assert ([pool.name for pool in found.pools], [each.name for each in found.former_balancers]) == (pools, balancers)
    assert (found.before, found.after, found.apps) == (1, 2, ())


def test_what_differs_beside_apps_has_no_difference():
    other = APPS.replace("tcp/80", "tcp/81").replace(":80'", ":81'")
    found = change(APPS, other).difference
    assert [app.first_port for app in (*found.former, *found.apps)] == [80, 81]
    assert (found.before, found.after) == (1, 2)
    assert change(APPS, APPS).difference is None
    assert first(APPS).difference is None
    # It is no part of a snapshot, but other actors go by it.
    assert change(APPS, other + "udp_offload: true\n").difference is None
    one = change(APPS, other)
    for more in ({"prefixes": b"other"}, {"places": ("other",)}):
        assert Change(one.before, replace(one.after, **more)).difference is None
