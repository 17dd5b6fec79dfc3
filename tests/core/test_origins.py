import pytest

from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot, number_labels
from spectrum.core.origin_bounds import OriginBounds, RetrySettings
from spectrum.core.origins import MAX_PRECONNECT
from spectrum.engine.spares import MAX_WANTED

DIRECT = "origin_direct: ['tcp://192.0.2.1:90', 'tcp://192.0.2.2:90']"
POOL = "pools: {p: {origins: [{name: a, address: 192.0.2.1}]}}\nload_balancers: {lb: {default_pools: [p]}}\n"


def app(body, protocol="tcp/80"):
    return load_text(f"{POOL}apps: {{x: {{protocol: {protocol}, edge_ips: [127.0.0.9], {body}}}}}", "f")


def test_what_workers_get():
    config = app(
        f"{DIRECT}, origin_max_sessions: 7, queue: {{size: 3, timeout: 2s}}, retry_budget: {{percent: 5}}, "
        "origin_preconnect: 4"
    )
    snapshot = compile_snapshot(config, 1)
    assert snapshot.apps[0].bounds == OriginBounds(7, 3, 2.0, RetrySettings(5.0, 10.0), 4)
    one, other = snapshot.origin_places["x"]
    pool = snapshot.pools[0]
    assert len({one, other, pool.number, pool.origins[0].number}) == 4


def test_without_a_bound_nothing_is_counted():
    config = app(DIRECT)
    snapshot = compile_snapshot(config, 1)
    assert snapshot.origin_places == {}
    assert snapshot.apps[0].bounds == OriginBounds(queue_size=1000, queue_timeout_s=5.0)
    assert not any(label.startswith("app ") for label in number_labels(config))


def test_the_addresses_of_a_name_are_counted_together():
    config = app("origin_dns: {name: b.example}, origin_port: 7, origin_max_sessions: 7")
    assert len(compile_snapshot(config, 1).origin_places["x"]) == 1


def test_the_budget_of_a_pool():
    text = POOL.replace("192.0.2.1}]", "192.0.2.1}], retry_budget: {min_per_second: 0.5}")
    snapshot = compile_snapshot(load_text(f"{text}apps: {{x: {{protocol: tcp/80, load_balancer: lb}}}}", "f"), 1)
    assert snapshot.pools[0].retries == RetrySettings(20.0, 0.5)


def test_the_engine_has_room_for_as_many():
    assert MAX_PRECONNECT == MAX_WANTED


@pytest.mark.parametrize(
    ("body", "protocol", "message"),
    [
        ("load_balancer: lb, origin_max_sessions: 1", "tcp/80", "set max_sessions of the origins in its pools"),
        ("load_balancer: lb, queue: {size: 1}", "tcp/80", "set queue of the load balancer"),
        ("load_balancer: lb, retry_budget: {}", "tcp/80", "set retry_budget of its pools"),
        (f"{DIRECT}, queue: {{size: 1}}", "tcp/80", "it has no effect without origin_max_sessions"),
        (f"{DIRECT}, origin_preconnect: 300", "tcp/80", "less than or equal to 256"),
        (f"{DIRECT}, origin_preconnect: 1, source: client", "tcp/80", "which is not known in advance"),
        (
            f"{DIRECT}, origin_preconnect: 1, bindings: [{{prefix: 192.0.2.0/24}}]",
            "tcp/80",
            "clients choose among many ports",
        ),
        (
            "origin_direct: ['tcp://192.0.2.1:100-199'], origin_preconnect: 50",
            "tcp/100-199",
            "5000 connections to each origin in each worker, over all ports; at most 4096",
        ),
        ("origin_direct: ['udp://192.0.2.1:90'], origin_preconnect: 1", "udp/80", "UDP has no connections"),
        ("origin_direct: ['udp://192.0.2.1:90'], retry_budget: {}", "udp/80", "UDP has no connections"),
    ],
)
def test_faults(body, protocol, message):
    with pytest.raises(ConfigError) as caught:
        app(body, protocol)
    assert message in str(caught.value)


def test_flows_are_bounded_too():
    snapshot = compile_snapshot(app("origin_direct: ['udp://192.0.2.1:90'], origin_max_sessions: 5", "udp/80"), 1)
    assert snapshot.apps[0].bounds.max_sessions == 5
