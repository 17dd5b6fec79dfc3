import re

import pytest
from pydantic import ValidationError

from spectrum.core.configuration.config import App, Config, Keepalive

GOOD = {"protocol": "tcp/22", "origin_direct": ["tcp://192.0.2.1:22"]}


def test_defaults():
    app = App.model_validate(GOOD)
    assert app.proxy_protocol == "off"
    assert app.addresses == ()
    assert (app.timeouts.connect_s, app.idle_timeout_s) == (5, 3600)
    udp = {"protocol": "udp/53", "origin_direct": ["udp://192.0.2.1:53"]}
    assert App.model_validate(udp).idle_timeout_s == 30
    assert App.model_validate(udp | {"timeouts": {"idle": "0s"}}).idle_timeout_s == 0
    settings = Config.model_validate({})
    assert settings.workers == 0
    assert settings.metrics is None


@pytest.mark.parametrize(
    ("edge_ips", "addresses"),
    [
        (["127.0.0.1", "::1"], ["127.0.0.1", "::1"]),
        ({"type": "static", "ips": ["192.0.2.1"]}, ["192.0.2.1"]),
        ({"type": "dynamic", "connectivity": "all"}, []),
        ({"type": "dynamic"}, []),
        ({"type": "dynamic", "connectivity": "ipv4"}, ["0.0.0.0"]),
        ({"type": "dynamic", "connectivity": "ipv6"}, ["::"]),
    ],
)
def test_edge_ips(edge_ips, addresses):
    assert [str(address) for address in App.model_validate(GOOD | {"edge_ips": edge_ips}).addresses] == addresses


@pytest.mark.parametrize(
    "wrong",
    [
        {"edge_ips": []},
        {"edge_ips": {"type": "static"}},
        {"edge_ips": {"type": "dynamic", "connectivity": "ipv5"}},
        {"edge_ips": "127.0.0.1"},
        {"edge_ips": ["localhost"]},
        {"edge_ips": ["fe80::5%lo"]},
        {"edge_ips": ["fe80::5"]},
        {"origin_direct": ["tcp://[fe80::5%lo]:22"]},
        {"source_ips": ["fe80::5%lo"]},
        {"accept_proxy_protocol": {"from": ["fe80::5%lo"]}},
        {"bindings": [{"prefix": "fe80::%lo/64"}]},
        {"tproxy": {"port": 1, "prefixes": ["fe80::%lo/64"]}},
        {"protocol": 22},
        {"protocol": "sctp/53"},
        {"origin_direct": []},
        {"origin_direct": None},
        {"origin_dns": {"name": "localhost"}},
        {"origin_port": 70000},
        {"proxy_protocol": "v3"},
        {"proxy_protocol": False},
        {"accept_proxy_protocol": {"from": []}},
        {"accept_proxy_protocol": {"from": ["10.0.0.1/8"]}},
        {"accept_proxy_protocol": {"from": ["10.0.0.0/8"], "timeout": 0}},
        {"timeouts": {"connect": "0s"}},
        {"timeouts": {"idle": True}},
        {"keepalive": {"idle": "1.5s"}},
        {"keepalive": {"count": 0}},
        {"source_ips": ["nowhere"]},
        {"source_ips": ["127.0.0.1"] * 65},
        {"drain_pace": -1},
        {"drain_pace": "1s"},
    ],
)
def test_wrong_apps(wrong):
    with pytest.raises(ValidationError):
        App.model_validate(GOOD | wrong)


@pytest.mark.parametrize(
    "dns",
    [{"name": "1.2.3.4"}, {"name": "x", "type": "MX"}, {"name": "x", "ttl": "500ms"}, {"name": "x", "ttl": "soon"}, {}],
)
def test_wrong_names(dns):
    with pytest.raises(ValidationError):
        App.model_validate({"protocol": "tcp/22", "origin_dns": dns, "origin_port": 22})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("1.2.3.4", "'1.2.3.4' is an address; write it in origin_direct"),
        ("2001:db8::1", "'2001:db8::1' is an address; write it in origin_direct"),
        ("bücher.example", "'bücher.example' is not a host name; write it in ASCII, as xn--..."),
        ("a..example", "'a..example' is not a host name"),
    ],
)
def test_faults_of_a_name(name, why):
    with pytest.raises(ValidationError, match=re.escape(why)):
        App.model_validate({"protocol": "tcp/22", "origin_dns": {"name": name}, "origin_port": 22})


def test_a_name_needs_a_port():
    with pytest.raises(ValidationError, match="origin_dns needs origin_port, unless its type is SRV"):
        App.model_validate({"protocol": "tcp/22", "origin_dns": {"name": "localhost"}})


def test_a_service_has_its_port():
    app = {"protocol": "udp/22", "origin_dns": {"name": "_x._udp.example.org.", "type": "SRV"}}
    assert App.model_validate(app).origin_port is None
    with pytest.raises(ValidationError, match="the port comes from the SRV record; omit origin_port"):
        App.model_validate(app | {"origin_port": 22})


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"workers": "many"},
        {"workers": True},
        {"busy_poll": "2ms"},
        {"worker_timeout": "2s"},
        {"metrics": {"listen": 9090}},
        {"log": {"format": "xml"}},
        {"geoip": {}},
        {"seccomp": "on"},
    ],
)
def test_wrong_settings(wrong):
    with pytest.raises(ValidationError):
        Config.model_validate(wrong)


def test_a_worker_has_time_for_its_reports():
    assert [Config.model_validate({"worker_timeout": value}).worker_timeout_s for value in (0, "3s")] == [0, 3]
    with pytest.raises(ValidationError, match="'1s': 0 or at least 3s; workers report each second"):
        Config.model_validate({"worker_timeout": "1s"})


@pytest.mark.parametrize(("busy_poll", "seconds"), [("off", 0), ("50us", 0.00005), (0, 0)])
def test_busy_poll(busy_poll, seconds):
    assert Config.model_validate({"busy_poll": busy_poll}).busy_poll_s == pytest.approx(seconds)


def test_user_timeout_is_just_under_the_keepalive():
    assert Keepalive().user_timeout_ms == (60 + 15 * 4) * 1000 - 500


def test_the_same_with_other_objects():
    one, other = (App.model_validate({"protocol": f"tcp/{n}", "origin_direct": ["tcp://192.0.2.1:1"]}) for n in (1, 2))
    config = Config.model_validate({}).with_objects({"apps": {"a": one}})
    config.hide([("apps", "a", "sni")])
    more = config.with_objects({"apps": {"b": other}, "pools": {}})
    assert (list(more.apps), list(config.apps)) == (["a", "b"], ["a"])
    less = more.changed({"apps": {"a": other, "b": None, "c": None}})
    assert (less.apps, less.hides(("apps", "a"))) == ({"a": other}, True)
    assert more.apps["a"] is one
