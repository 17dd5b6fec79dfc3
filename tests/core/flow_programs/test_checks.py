from spectrum.core.configuration.config import Config
from spectrum.core.configuration.feature import CheckContext
from spectrum.core.flow_programs.checks import FLOW_PROGRAMS, check_flow_programs

FILTER = {"interfaces": ["lo"], "guard": ["192.0.2.1"]}
APPS = {
    name: {"protocol": protocol, "origin_direct": [f"{protocol[:3]}://192.0.2.1:80"]}
    for name, protocol in (("game", "udp/7000"), ("voice", "udp/7001"), ("web", "tcp/80"))
}


def faults(programs, **more):
    whole = Config.model_validate({"apps": APPS, "filter": FILTER, "ddos": {}, "flow_programs": programs} | more)
    return [
        (fault.path, fault.message)
        for fault in check_flow_programs(whole, CheckContext({"apps": list(whole.apps)}, None, whole))
    ]


def one(*apps, **more):
    return {"source": "/game.c", "apps": list(apps)} | more


def test_valid_configurations():
    assert faults({"a": one("game"), "b": one("voice", mode="enabled")}) == []


def test_apps():
    assert faults({"a": one("gane"), "b": one("game", "web"), "c": one("game")}) == [
        (("flow_programs", "a", "apps", 0), 'there is no app "gane"; did you mean "game"?'),
        (("flow_programs", "b", "apps", 1), "web is served by tcp: flow programs judge UDP datagrams"),
        (("flow_programs", "c", "apps", 0), "flow program b judges game already"),
    ]


def test_it_takes_detection():
    ((path, why),) = faults({"a": one("game"), "b": one("voice", mode="disabled")}, ddos=False)
    assert path == ("flow_programs", "a") and "ddos: {}" in why


def test_it_takes_the_filter():
    ((path, why),) = faults({"a": one("game"), "b": one("voice", mode="disabled")}, filter=None)
    assert path == ("flow_programs", "a") and "filter: {interfaces" in why


def test_how_many():
    apps = {f"g{n}": APPS["game"] | {"protocol": f"udp/{7000 + n}"} for n in range(17)}
    assert faults({f"p{n}": one(f"g{n}") for n in range(17)}, apps=apps) == [
        (("flow_programs", "p16"), "there are 16 flow programs at most")
    ]


def test_what_one_refers_to():
    (section,) = FLOW_PROGRAMS.sections
    program = Config.model_validate({"flow_programs": {"a": one("game", "voice")}}).flow_programs["a"]
    assert list(section.named_by(program)) == [("apps", "game"), ("apps", "voice")]
