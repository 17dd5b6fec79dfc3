from dataclasses import replace

from spectrum.control.configuration.actor import Actor, Change
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
