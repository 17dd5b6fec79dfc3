import msgspec

from spectrum.control.configuration.loader import load_text
from spectrum.core import features
from spectrum.core.configuration.changes import changes
from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.feature import Feature
from spectrum.core.features import FEATURES, FIXED, SECTIONS, check, compile_app, compile_snapshot
from spectrum.core.snapshot import AppSettings, Snapshot

TEXT = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"


def test_each_is_registered_once():
    names = [feature.name for feature in FEATURES]
    assert len(set(names)) == len(names)
    # What keys there are comes from registered features alone; a class in core/tls/objects.py is of "tls".
    homes = {base.__module__.split(".")[2] for base in (*App.__bases__, *Config.__bases__)}
    assert homes - {"configuration"} <= set(names)


def test_what_they_name_is_there():
    assert {section.key for section in SECTIONS} < set(Config.model_fields)
    aliases = {field.alias or name for name, field in Config.model_fields.items()}
    assert {path.split(".")[0] for path in FIXED} <= aliases
    config = load_text(TEXT, "x")
    made = [{**feature.compile(config, {}), **feature.compile_app(config.apps["x"])} for feature in FEATURES]
    fields = [field for one in made for field in one]
    assert len(set(fields)) == len(fields), "no two features set the same field"
    known = {field.name for struct in (Snapshot, AppSettings) for field in msgspec.structs.fields(struct)}
    assert set(fields) <= known


def test_one_more(monkeypatch):
    """A feature that is registered is checked, and compiled."""
    config = load_text(TEXT, "x")
    more = Feature(
        "more",
        fixed=("busy_poll",),
        check=lambda config, surroundings: [Fault(("node",), str(surroundings.names["apps"]))],
        misfits=lambda app: [(("protocol",), "no")],
        compile=lambda config, numbers: {"busy_poll_us": numbers["x"]},
        compile_app=lambda app: {"on_remove": "close"},
    )
    monkeypatch.setattr(features, "FEATURES", (*FEATURES, more))
    found = list(check(config, {section.key: [] for section in SECTIONS} | {"apps": ["x"]}))
    assert found == [Fault(("node",), "['x']"), Fault(("apps", "x", "protocol"), "no")]
    snapshot = compile_snapshot(config, 1, {"x": 7})
    assert (snapshot.busy_poll_us, snapshot.apps) == (7, (compile_app("x", config.apps["x"]),))
    assert snapshot.apps[0].on_remove == "close"


def test_changes_are_listed_in_the_order_of_features():
    old = load_text(TEXT, "x")
    new = load_text(
        TEXT.replace("tcp/80", "tcp/81")
        + "access_rules: {}\npools: {p: {origins: [{name: o, address: a.b, port: 1}]}}",
        "x",
    )
    assert changes(old, new) == ["added pool p", "changed app x: protocol tcp/80 -> tcp/81"]


def test_there_are_not_more_origins_than_numbers(monkeypatch):
    pools = "pools: {p: {origins: [{name: a, address: 192.0.2.1}, {name: b, address: 192.0.2.2}]}}\n"
    balancers = "load_balancers: {l: {default_pools: [p]}}\n"
    config = load_text(TEXT + pools + balancers, "x")
    names = {section.key: list(getattr(config, section.key)) for section in SECTIONS}
    assert list(check(config, names)) == []
    monkeypatch.setattr(features, "MAX_NUMBERS", 2)
    (fault,) = check(config, names)
    assert fault.path == ("pools",)
    assert fault.message == "3 pools, origins in pools, and origins of apps with origin_max_sessions; at most 2"
    assert list(check(config, names, whole=config)) == [], "a change of some objects does not count all"
