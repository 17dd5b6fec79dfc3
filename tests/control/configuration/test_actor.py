from spectrum.control.configuration.actor import Actor
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
