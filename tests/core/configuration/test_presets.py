import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.core.configuration.presets import PRESETS, expand

ORIGIN = "origin_direct: ['{}://192.0.2.1:99']"


@pytest.mark.parametrize("name", PRESETS)
def test_each_is_a_whole_app(name):
    transport = PRESETS[name].protocol.split("/")[0]
    app = load_text(f"apps: {{x: {{preset: {name}, {ORIGIN.format(transport)}}}}}", "f").apps["x"]
    assert str(app.protocol) == PRESETS[name].protocol
    assert app.idle_timeout_s > 0
    pools = (
        "pools: {p: {origins: [{name: a, address: 192.0.2.1, port: 99}]}}\nload_balancers: {lb: {default_pools: [p]}}"
    )
    config = load_text(f"{pools}\napps: {{x: {{preset: {name}, load_balancer: lb}}}}", "f")
    assert config.pools["p"].monitor == f"preset-{name}"
    assert config.monitors[f"preset-{name}"].type == PRESETS[name].monitor["type"]


def test_what_stands_in_the_file_stays():
    text = """
monitors: {mine: {type: tcp, interval: 5, port: 22}}
pools:
  p: {origins: [{name: a, address: 192.0.2.1}], monitor: mine}
  q: {origins: [{name: a, address: 192.0.2.2}]}
  r: {origins: [{name: a, address: 192.0.2.3}], monitor_group: g}
monitor_groups: {g: {members: [{monitor: mine}]}}
load_balancers: {lb: {default_pools: [p, r], fallback_pool: q}}
apps: {x: {preset: ssh, protocol: tcp/2222, timeouts: {connect: 3s, idle: 1m}, load_balancer: lb}}
"""
    config = load_text(text, "f")
    app = config.apps["x"]
    assert (str(app.protocol), app.timeouts.connect_s, app.idle_timeout_s) == ("tcp/2222", 3, 60)
    assert (config.pools["p"].monitor, config.pools["q"].monitor) == ("mine", "preset-ssh-2222")
    assert config.pools["r"].monitor is None
    monitor = config.monitors["preset-ssh-2222"]
    assert (monitor.expect, monitor.port) == ("SSH-2.0-", 2222)


def test_a_typo():
    with pytest.raises(ConfigError) as caught:
        load_text(f"apps: {{x: {{preset: shh, {ORIGIN.format('tcp')}}}}}", "f")
    assert [str(d) for d in caught.value.diagnostics] == [
        "f:1:20: apps.x.preset: there is no preset 'shh'; did you mean \"ssh\"?"
    ]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"apps": []},
        {"apps": {"x": 1}},
        {"apps": {"x": {"preset": "ssh", "load_balancer": "lb"}}, "load_balancers": []},
        {"apps": {"x": {"preset": "ssh", "load_balancer": "lb"}}, "load_balancers": {"lb": {}}, "pools": {"p": 1}},
        {"apps": {"x": {"preset": "ssh", "timeouts": 5}}},
        {
            "apps": {"x": {"preset": "ssh", "load_balancer": "lb"}},
            "load_balancers": {"lb": {"default_pools": ["p"]}},
            "pools": {"p": {"origins": 7}},
            "monitors": 5,
        },
    ],
)
def test_what_is_malformed_is_left_to_the_checks(document):
    assert expand(document)[1] == []
