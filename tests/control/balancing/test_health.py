import asyncio
import time

import pytest

from spectrum.core.balancing.outliers import OriginOutcomes
from spectrum.core.balancing.overrides import Override
from spectrum.core.balancing.pools import Standing
from tests.control.keepers import Keeper, Origin, until

MONITOR = "monitors: {m: {type: tcp, interval: 0.1, timeout: 1}}"
NAME = "ANY b.example tcp {port}-{port}"


@pytest.fixture
async def keeper():
    made = Keeper()
    yield made
    await made.health.stop()


@pytest.fixture
def origin():
    made = []

    def build(address="127.0.0.1"):
        made.append(Origin(address))
        return made[-1]

    yield build
    for each in made:
        each.close()


def text(*origins, monitor=MONITOR, pool="monitor: m", more=""):
    listed = ", ".join(
        f"{{name: o{n}, address: {getattr(o, 'address', o)}, port: {getattr(o, 'port', 9)}}}"
        for n, o in enumerate(origins)
    )
    return f"""
{monitor}
pools:
  p: {{origins: [{listed}], {pool}}}
  spare: {{origins: [{{name: s, address: 127.0.0.1, port: 9}}]}}
load_balancers: {{lb: {{default_pools: [p], fallback_pool: spare}}}}
apps: {{x: {{protocol: tcp/1, load_balancer: lb}}}}
{more}"""


async def test_the_life_of_an_origin(keeper, origin):
    a = origin()
    keeper.apply(text(a))
    assert keeper.usable("p/o0") is False  # unknown is down
    assert keeper.usable("spare/s") is True  # nobody looks
    await until(lambda: keeper.usable("p/o0"))
    await until(lambda: keeper.health.pool_health.get("p"))
    assert 0 < keeper.health.rtt_of(keeper.number("p/o0")) < 1
    a.close()
    await until(lambda: keeper.usable("p/o0") is False)
    await until(lambda: keeper.health.fallbacks["lb"])
    a.open()
    await until(lambda: keeper.usable("p/o0") and not keeper.health.fallbacks["lb"])
    assert keeper.said() == [
        ("originHealth", "p", "o0", True),
        ("poolHealth", "p", "", True),
        ("originHealth", "p", "o0", False),
        ("poolHealth", "p", "", False),
        ("loadBalancerFallback", "spare", "", False),
        ("originHealth", "p", "o0", True),
        ("poolHealth", "p", "", True),
        ("loadBalancerFallback", "spare", "", True),
    ]
    assert keeper.events[2].Reason == "connection refused"
    assert keeper.events[3].Reason == "0 of 1 origins are up, 1 needed; connection refused"
    assert keeper.health.members[keeper.number("p/o0")].changes == 2
    # Its share grows from when it came back.
    assert keeper.standings[keeper.number("p/o0")].since > 0
    assert keeper.health.probes["m", True] > 1
    keeper.apply(text(a).replace("m: {", "n: {").replace("monitor: m", "monitor: n"))
    assert not [monitor for monitor, _ in keeper.health.probes if monitor == "m"]  # it is gone


async def test_an_origin_that_was_never_up(keeper, origin):
    a = origin()
    a.close()
    keeper.apply(text(a))
    await until(lambda: keeper.health.pool_health.get("p") is False)
    assert keeper.said()[:2] == [("originHealth", "p", "o0", False), ("poolHealth", "p", "", False)]


async def test_flapping_is_damped(keeper, origin):
    a = origin()
    keeper.apply(text(a, monitor=MONITOR.replace("timeout", "consecutive_down: 4, timeout")))
    await until(lambda: keeper.usable("p/o0"))
    for _ in range(3):
        a.close()
        failed = keeper.health.probes["m", False]
        await until(lambda failed=failed: keeper.health.probes["m", False] >= failed + 2)
        a.open()
        passed = keeper.health.probes["m", True]
        await until(lambda passed=passed: keeper.health.probes["m", True] > passed)
    assert keeper.said()[1:] == [("poolHealth", "p", "", True)]


async def test_one_address_is_probed_once_for_all_pools(keeper, origin):
    a = origin()
    both = text(a).replace(
        "spare: {origins: [{name: s, address: 127.0.0.1, port: 9}]}",
        f"spare: {{origins: [{{name: s, address: 127.0.0.1, port: {a.port}}}], monitor: m}}",
    )
    keeper.apply(both)
    await until(lambda: keeper.usable("p/o0") and keeper.usable("spare/s"))
    assert len(keeper.health._health) == 1


async def test_health_survives_a_reload(keeper, origin):
    a, b = origin(), origin()
    keeper.apply(text(a, b))
    await until(lambda: keeper.usable("p/o0") and keeper.usable("p/o1"))
    b.close()
    await until(lambda: keeper.usable("p/o1") is False)
    keeper.standings.clear()
    events = len(keeper.events)
    # Another interval, another monitor, another policy: nothing is forgotten, nobody is doubted.
    slow = "monitors: {n: {type: tcp, interval: 60}}"
    keeper.apply(text(a, b, monitor=slow, pool="monitor: n, origin_steering: {policy: hash}"))
    assert keeper.standings == {}
    assert keeper.health.standings[keeper.number("p/o0")].usable
    assert not keeper.health.standings[keeper.number("p/o1")].usable
    assert len(keeper.events) == events


async def test_a_monitor_that_is_taken_away(keeper, origin):
    a = origin()
    a.close()
    keeper.apply(text(a))
    await until(lambda: keeper.health.pool_health.get("p") is False)
    keeper.apply(text(a, pool="minimum_origins: 1"))
    assert keeper.usable("p/o0")
    assert keeper.health.pool_health["p"] is True


async def test_disabled_origins_are_not_probed(keeper, origin):
    a = origin()
    given = text(a, a).replace("name: o1,", "name: o1, enabled: false,")
    keeper.apply(given)
    await until(lambda: keeper.usable("p/o0"))
    assert keeper.health.members[keeper.number("p/o1")].keys == ()
    assert keeper.usable("p/o1") is False
    assert all(event.Origin != "o1" for event in keeper.events)


async def test_names(keeper, origin):
    a = origin()
    named = text("b.example").replace("port: 9}", f"port: {a.port}}}", 1)
    key = NAME.format(port=a.port)
    keeper.apply(named)
    assert keeper.health.members[keeper.number("p/o0")].reason == "its name has no address"
    addresses = {key: ("127.0.0.1", "127.0.0.99")}
    keeper.health.resolve(addresses)
    keeper.health.resolve(addresses)
    await until(lambda: keeper.usable("p/o0"))
    # Nobody listens on the other address: workers are not told of it.
    await until(lambda: keeper.health.addresses_for_workers(addresses) == {key: ("127.0.0.1",)})
    await until(lambda: {key} in keeper.readdressed)
    a.close()
    await until(lambda: keeper.usable("p/o0") is False)
    assert keeper.health.addresses_for_workers(addresses) == addresses  # better all than none


async def test_a_load_balancer_that_comes_later_finds_what_is_known(keeper):
    pools = (
        "p: {origins: [{name: a, address: 192.0.2.1, enabled: false}]}, q: {origins: [{name: a, address: 192.0.2.2}]}"
    )
    file = "pools: {{{}}}\nload_balancers: {{{}}}\napps: {{x: {{protocol: tcp/1, load_balancer: lb}}}}"
    lb = "lb: {default_pools: [q]}"
    keeper.apply(file.format(pools, lb))
    views = dict(keeper.health.views)
    assert (keeper.health.pool_health, keeper.health.fallbacks) == ({"p": False, "q": True}, {"lb": False})
    keeper.apply(file.format(pools, f"{lb}, other: {{default_pools: [p]}}"))
    assert keeper.health.fallbacks == {"lb": False, "other": True}
    assert keeper.health.views["q"] is views["q"], "nothing of it is another one"
    keeper.apply(file.format(pools.replace(", enabled: false", ""), f"{lb}, other: {{default_pools: [p]}}"))
    assert (keeper.health.pool_health["p"], keeper.health.fallbacks["other"]) == (True, False)


FAILED = OriginOutcomes(connect_failures=5, reason="connect_refused")


async def test_an_origin_that_fails_clients_is_ejected(keeper, origin):
    a, b = origin(), origin()
    slow = "monitors: {m: {type: tcp, interval: 60}}"
    keeper.apply(text(a, b, monitor=slow, pool="monitor: m, outlier_detection: {base_ejection_time: 0.5s}"))
    await until(lambda: keeper.usable("p/o0") and keeper.usable("p/o1"))
    number = keeper.number("p/o0")
    keeper.health.count_outcomes({number: FAILED, 999: FAILED})
    await until(lambda: keeper.usable("p/o0") is False)
    assert 0 < keeper.health.ejected_for(number) <= 0.5
    assert keeper.said()[-1] == ("originEjected", "p", "o0", False)
    assert "5 connects failed in a row, last connect_refused; for 0 s" in keeper.events[-1].Reason
    # The other one is the last: it stays, whatever it does.
    keeper.health.count_outcomes({keeper.number("p/o1"): FAILED})
    assert keeper.health.ejected_for(keeper.number("p/o1")) == 0
    await until(lambda: keeper.usable("p/o0"))
    assert keeper.said()[-1] == ("originReturned", "p", "o0", True)
    assert keeper.health.members[number].ejections == 1


async def test_a_probe_that_passes_ends_an_ejection(keeper, origin):
    a, b = origin(), origin()
    keeper.apply(text(a, b))
    await until(lambda: keeper.usable("p/o0") and keeper.usable("p/o1"))
    began = time.monotonic()
    keeper.health.count_outcomes({keeper.number("p/o0"): FAILED})
    await until(lambda: keeper.said()[-1] == ("originReturned", "p", "o0", True))
    assert time.monotonic() - began < 5  # far less than the 30 seconds of an ejection
    await until(lambda: keeper.usable("p/o0"))


async def test_an_origin_that_resets_half_of_its_clients_is_ejected(keeper, origin):
    a, b = origin(), origin()
    keeper.apply(text(a, b))
    await until(lambda: keeper.usable("p/o0") and keeper.usable("p/o1"))
    bad, good = keeper.number("p/o0"), keeper.number("p/o1")
    for _ in range(2):  # workers
        keeper.health.count_outcomes(
            {
                bad: OriginOutcomes(connected=30, answered=15, all_resets=15),
                good: OriginOutcomes(connected=30, answered=30),
            }
        )
    await until(lambda: keeper.usable("p/o0") is False)
    assert keeper.events[-1].Reason.startswith("30 of 60 sessions were reset before a byte, 50 %")
    assert keeper.health.members[bad].ejections == 1
    before = keeper.health.probes.total()
    await until(lambda: keeper.health.probes.total() > before + 3)  # they pass, and show nothing
    assert keeper.usable("p/o0") is False


async def test_latencies(keeper, origin):
    a = origin()
    steering = text(a).replace("default_pools: [p]", "default_pools: [p], steering_policy: dynamic_latency")
    keeper.apply(steering)
    await until(lambda: "p" in keeper.latencies)
    assert keeper.health.latency_of("spare") == 0
    assert 0 < keeper.latencies["p"] < 1
    assert "spare" not in keeper.latencies


async def test_slow_starts_are_followed(keeper, origin):
    a, b = origin(), origin()
    keeper.apply(text(a, b, pool="monitor: m, slow_start: 3s"))
    await until(lambda: keeper.usable("p/o0") and keeper.usable("p/o1"))
    # At a start all shares grow alike; this one came back later.
    keeper.health.standings[keeper.number("p/o0")] = Standing(True, time.monotonic())
    keeper.health.standings[keeper.number("p/o1")] = Standing(True)
    keeper.health._look_at("p", "")
    early = keeper.health.views["p"].shares()[keeper.number("p/o0")]
    await until(lambda: keeper.health.views["p"].shares()[keeper.number("p/o0")] > early + 0.05)


async def test_a_start_with_many_is_a_few_messages(keeper, origin):
    a = origin()
    told = []
    keeper.health._tell = lambda standings, latencies: told.append(len(standings))
    one = f"origins: [{{name: o, address: 127.0.0.1, port: {a.port}}}], monitor: m"
    pools = ", ".join(f"p{n}: {{{one}}}" for n in range(300))
    apps = "load_balancers: {lb: {default_pools: [p0]}}\napps: {x: {protocol: tcp/1, load_balancer: lb}}"
    keeper.apply(f"{MONITOR}\npools: {{{pools}}}\n{apps}")
    await until(lambda: sum(told) == 600)
    await asyncio.sleep(0)
    assert len(told) <= 20


async def test_what_operators_set_is_reported_at_once(keeper, origin):
    a = origin()
    keeper.apply(text(a))
    await until(lambda: keeper.usable("p/o0") and keeper.health.pool_health.get("p"))
    number, key = keeper.number("p/o0"), ("p", "o0")
    keeper.health.override({key: Override(1.0, 7, "drain")})
    assert keeper.standings[number] == Standing(False, 0.0, "drain")
    assert keeper.health.pool_health["p"] is False
    assert keeper.health.members[number].healthy is True  # it is probed on
    keeper.apply(text(a))  # a reload
    assert keeper.standings[number].out == "drain"
    keeper.health.override({key: Override(1.0, 7, "disable", 0.5)})
    assert keeper.standings[number] == Standing(False, 0.0, "disable", 0.5)
    keeper.health.override({key: Override(1.0, 7, "", 0.5)})
    standing = keeper.standings[number]
    assert (standing.usable, standing.out, standing.weight) == (True, "", 0.5)
    assert standing.since > 0  # its share grows from here
    keeper.health.override({})
    assert keeper.standings[number] == Standing(True, standing.since)
    a.close()
    await until(lambda: keeper.usable("p/o0") is False)
    keeper.health.override({("p", "gone"): Override(1.0, 7, "drain")})
    assert keeper.standings[number] == Standing(False)


def grouped(*origins, extra, members, **more):
    """Return a file whose pool has monitor m, of the origins' own ports, and n of one more port."""
    monitors = f"""monitors: {{m: {{type: tcp, interval: 0.1}}, n: {{type: tcp, interval: 0.1, port: {extra.port}}}}}
monitor_groups: {{g: {{members: [{members}]}}}}"""
    return text(*origins, monitor=monitors, pool="monitor_group: g", **more)


async def test_a_member_that_must_be_healthy_decides_alone(keeper, origin):
    a, b = origin(), origin()
    keeper.apply(
        grouped(a, extra=b, members="{monitor: m, must_be_healthy: true}, {monitor: n, must_be_healthy: true}")
    )
    assert keeper.usable("p/o0") is False
    await until(lambda: keeper.usable("p/o0") and keeper.health.pool_health.get("p"))
    number = keeper.number("p/o0")
    assert 0 < keeper.health.rtt_of(number) < 1
    b.close()
    await until(lambda: keeper.health.pool_health["p"] is False)
    assert keeper.health.members[number].reason == "n: connection refused"
    b.open()
    await until(lambda: keeper.usable("p/o0") and keeper.health.pool_health["p"])
    told = [event for event in keeper.events if event.Pool == "p"]
    assert [(event.Event, event.Healthy, event.Monitor, event.Reason) for event in told[2:]] == [
        ("monitorHealth", False, "n", "connection refused"),
        ("originHealth", False, "n", "n: connection refused"),
        ("poolHealth", False, "", "0 of 1 origins are up, 1 needed; n: connection refused"),
        ("monitorHealth", True, "n", "probes pass"),
        ("originHealth", True, "n", "n: probes pass"),
        ("poolHealth", True, "", "1 of 1 origins are up, 1 needed; n: probes pass"),
    ]
    assert {event.MonitorGroup for event in told} == {"g", ""}


@pytest.mark.parametrize("members", ["{monitor: m}, {monitor: n, monitoring_only: true}", "{monitor: m}, {monitor: n}"])
async def test_a_member_that_does_not_decide_is_reported(keeper, origin, members):
    a, b = origin(), origin()
    b.close()
    keeper.apply(grouped(a, extra=b, members=members))
    number = keeper.number("p/o0")
    await until(lambda: keeper.usable("p/o0") and keeper.health.probes["n", False])
    assert [(one.member.monitor, one.healthy, one.reason) for one in keeper.health.findings_of(number)] == [
        ("m", True, ""),
        ("n", False, "connection refused"),
    ]
    assert ("monitorHealth", "p", "o0", False) in keeper.said()
    assert ("originHealth", "p", "o0", False) not in keeper.said()
    a.close()  # of two that decide both are down then
    await until(lambda: keeper.usable("p/o0") is False)


async def test_members_that_only_look_leave_origins_in_use(keeper, origin):
    a = origin()
    a.close()
    keeper.apply(grouped(a, extra=a, members="{monitor: m, monitoring_only: true}, {monitor: n, enabled: false}"))
    assert keeper.usable("p/o0") is True
    await until(lambda: keeper.health.probes["m", False])
    assert keeper.usable("p/o0") is True
    assert ("n", False) not in keeper.health.probes
    assert keeper.health.findings_of(keeper.number("spare/s")) == []


async def test_a_monitor_in_place_of_which_there_is_a_group_is_no_reason_for_doubt(keeper, origin):
    a, b = origin(), origin()
    keeper.apply(text(a))
    await until(lambda: keeper.usable("p/o0"))
    keeper.standings.clear()
    keeper.apply(
        grouped(a, extra=b, members="{monitor: m, must_be_healthy: true}, {monitor: n, must_be_healthy: true}")
    )
    assert keeper.health.standings[keeper.number("p/o0")].usable
    assert keeper.standings == {}
    # What the group is said to be counts at once.
    b.close()
    await until(lambda: not keeper.health.standings[keeper.number("p/o0")].usable)
    keeper.apply(
        grouped(a, extra=b, members="{monitor: m, must_be_healthy: true}, {monitor: n, monitoring_only: true}")
    )
    assert keeper.health.standings[keeper.number("p/o0")].usable


async def test_addresses_of_a_name_are_each_decided_on(keeper, origin):
    a, b = origin("127.0.0.2"), origin("127.0.0.2")
    members = "{monitor: m, must_be_healthy: true}, {monitor: n, monitoring_only: true}"
    named = grouped(a, extra=b, members=members).replace("address: 127.0.0.2", "address: b.example")
    addresses = {NAME.format(port=a.port): ("127.0.0.2", "127.0.0.3")}
    keeper.apply(named, addresses)
    await until(lambda: keeper.usable("p/o0"))
    await until(lambda: keeper.health.addresses_for_workers(addresses)[NAME.format(port=a.port)] == ("127.0.0.2",))
    b.close()
    await until(
        lambda: all(
            one.healthy is (one.member.monitor == "m") for one in keeper.health.findings_of(keeper.number("p/o0"))
        )
    )
    assert keeper.health.addresses_for_workers(addresses)[NAME.format(port=a.port)] == ("127.0.0.2",)
    assert keeper.usable("p/o0")
