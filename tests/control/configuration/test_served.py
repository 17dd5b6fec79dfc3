from spectrum.control.configuration.served import Served
from tests.control.plans import change

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"


async def test_what_does_nothing_is_reported_once(caplog):
    overrides = f"{APPS}rulesets: {{default: {{}}}}\n"
    one = change(APPS, overrides)
    served = Served(one.before.config)
    for step in (one, change(overrides, f"{overrides}max_flows: 1000\n")):
        await served.commit(step)
        await served.release(step)
    assert caplog.text.count("rulesets: default does nothing while no attacks are looked for") == 1


async def test_a_plan_is_served_as_a_whole(caplog):
    one = change(APPS, f"{APPS}max_flows: 1000\n")
    served = Served(one.before.config)
    assert (served.snapshot.generation, served.is_live) == (0, False)
    await served.commit(one)
    assert served.plan is one.after and served.config is one.after.config and served.snapshot is one.after.snapshot
    assert served.restart_needed() == ["max_flows 100000 -> 1000"]
    await served.release(one)
    assert "requires a restart: max_flows 100000 -> 1000" in caplog.text
    await served.abort(one)
    assert served.plan is one.before and served.restart_needed() == []
