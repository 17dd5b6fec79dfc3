from spectrum.core.configuration.apps import APPS
from spectrum.core.configuration.config import App, Config


def test_what_every_app_has():
    name = {"protocol": "tcp/22-23", "origin_dns": {"name": "example.org"}, "origin_port": "2222-2223"}
    fields = APPS.compile_app(App.model_validate(name))
    assert (fields["first_port"], fields["last_port"], fields["origin_port"], fields["origins"]) == (22, 23, 2222, ())
    assert (fields["origin_name"].name, fields["trusted"], fields["transparent"]) == ("example.org", None, False)
    direct = {"protocol": "udp/53", "origin_direct": ["udp://192.0.2.1:53"], "source": "client"}
    fields = APPS.compile_app(App.model_validate(direct))
    assert (fields["origins"], fields["origin_name"], fields["transparent"]) == ((("192.0.2.1", 53),), None, True)


def test_what_every_daemon_has():
    fields = APPS.compile(Config.model_validate({"busy_poll": "50us", "drain_timeout": "1m"}), {})
    assert fields == {"busy_poll_us": 50, "drain_timeout_s": 60}


def test_what_an_app_refers_to():
    (section,) = APPS.sections
    given = {
        "protocol": "tcp/443",
        "load_balancer": "lb",
        "tls": "strict",
        "edge_tls": {"certificates": ["a", "b"]},
        "origin_tls": {"certificate": "c"},
    }
    found = list(section.refers_to(App.model_validate(given)))
    assert found == [("load_balancers", "lb"), ("certificates", "a"), ("certificates", "b"), ("certificates", "c")]
    plain = {"protocol": "tcp/22", "origin_direct": ["tcp://192.0.2.1:22"]}
    assert not list(section.refers_to(App.model_validate(plain)))
