from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.export import export, importable, raw_file
from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.yaml_marks import Document
from spectrum.control.configuration.yaml_text import as_written, yaml_text
from spectrum.core.features import SECTIONS
from spectrum.store.objects import ObjectChange, new_id
from spectrum.store.reading import StoreContent, read_objects, read_tokens
from spectrum.store.store import Store
from spectrum.store.tokens import StoredToken, digest
from tests.certificates import Authority
from tests.properties import examples

EXAMPLES = Path(__file__).parents[3] / "config" / "examples"
PROGRAM = EXAMPLES.with_name("flow-programs") / "dns.c"
NOTHING = StoreContent(0, {})
APP = {"protocol": "tcp/1", "origin_direct": ["tcp://192.0.2.1:1"]}


def sections_of(config):
    return {section.key: getattr(config, section.key, None) for section in SECTIONS}


def exported(text, tmp_path, content=NOTHING, tokens=(), **options):
    path = tmp_path / "spectrum.yaml"
    path.write_text(text)
    return export(raw_file(path), content, list(tokens), **options)


def test_what_the_api_made_stands_beside_what_the_file_has(tmp_path):
    content = StoreContent(1, {"apps": {"b": {**APP, "protocol": "tcp/2"}}, "pools": {"p": {"origins": []}}})
    made = exported("x-a: &a {idle: 5s}\napps: {a: {protocol: tcp/1, timeouts: *a}}\nworkers: 2", tmp_path, content)
    assert made.text == (
        "apps:\n  a:\n    protocol: tcp/1\n    timeouts:\n      idle: 5s\n"
        "  b:\n    protocol: tcp/2\n    origin_direct:\n    - tcp://192.0.2.1:1\n"
        "workers: 2\npools:\n  p:\n    origins: []\n"
    )
    assert (made.variables, made.set_aside) == ([], [])


def test_a_sealed_key_is_exported_as_it_is(tmp_path):
    """Only this installation can read it; a variable in its place would be a file that nobody can complete."""
    issued = Authority().issue("a.example")
    sent = {"chain": issued.chain.decode(), "sealed_key": "hpke-x25519:AAAA"}
    made = exported("workers: 1", tmp_path, StoreContent(1, {"certificates": {"c": sent}}))
    assert (made.variables, yaml.safe_load(made.text)["certificates"]["c"]) == ([], sent)


def test_an_ordered_certificate_comes_back_with_its_authority(tmp_path):
    pytest.importorskip("acme")
    order = {
        "acme": {"names": ["a.example.com"], "authority": "lets_encrypt", "challenge": "dns-01"},
        "zone": "example.com",
    }
    authority = {"accept_terms": True, "dns": {"server": "192.0.2.53"}}
    acme = {"authorities": {"lets_encrypt": authority}}
    file = yaml_of({"acme": acme, "zones": {"example.com": {}}, "apps": {"a": APP}})
    made = exported(file, tmp_path, StoreContent(1, {"certificates": {"c": order}}))
    assert made.variables == []
    (tmp_path / "back.yaml").write_text(made.text)
    assert importable(tmp_path / "back.yaml").objects["certificates"] == {"c": order}
    assert load_text(made.text, "f").certificates["c"].acme.authority == "lets_encrypt"


def test_the_file_wins(tmp_path):
    made = exported("apps: {a: {protocol: tcp/1}}", tmp_path, StoreContent(1, {"apps": {"a": APP}}))
    assert made.text == "apps:\n  a:\n    protocol: tcp/1\n"
    assert made.set_aside == [("apps", "a")]


def test_files_are_taken_in(tmp_path):
    (tmp_path / "more.yaml").write_text("apps: {b: {protocol: tcp/2}}")
    made = exported("include: [more.yaml]\napps: {a: {protocol: tcp/1}}", tmp_path)
    assert made.text == "apps:\n  a:\n    protocol: tcp/1\n  b:\n    protocol: tcp/2\n"


def test_references_stay_and_dollars_of_the_store_are_no_references(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", "found")
    content = StoreContent(1, {"monitors": {"m": {"send": "${KEY} $$ $"}}})
    made = exported('workers: ${CPUS:-2}\nmonitors: {n: {send: "${KEY}"}}\napps: {}', tmp_path, content)
    assert "workers: ${CPUS:-2}\n" in made.text
    assert "found" not in made.text
    made_again = importable_text(made.text, tmp_path)
    assert made_again.objects["monitors"] == {"n": {"send": "found"}, "m": {"send": "${KEY} $$ $"}}


def importable_text(text, tmp_path):
    path = tmp_path / "again.yaml"
    path.write_text(text)
    return importable(path)


def test_variables_stand_for_secrets(tmp_path):
    value = {"type": "http", "header": {"Authorization": ["a", "b"], "Host": ["c"]}}
    file = 'monitors: {n: {header: {Authorization: "plain", X-Key: "${KEY}"}}}'
    made = exported(file, tmp_path, StoreContent(1, {"monitors": {"m-1": value}}))
    assert made.variables == [
        "SPECTRUM_SECRET_MONITORS_N_AUTHORIZATION",
        "SPECTRUM_SECRET_MONITORS_M_1_AUTHORIZATION",
        "SPECTRUM_SECRET_MONITORS_M_1_AUTHORIZATION_2",
    ]
    named = exported("monitors: {password: {type: tcp, send: text}}", tmp_path)
    assert named.variables == []
    assert "plain" not in made.text
    assert '"${SPECTRUM_SECRET_MONITORS_M_1_AUTHORIZATION:-}"' in made.text
    assert "${KEY}" in made.text
    whole = exported(file, tmp_path, StoreContent(1, {"monitors": {"m-1": value}}), with_secrets=True)
    assert "plain" in whole.text
    assert whole.variables == []


def test_tokens_are_exported_by_their_hash(tmp_path):
    value = {"policies": [{"permissions": ["apps:read"]}]}
    tokens = [
        StoredToken("1" * 32, "deploy", digest("a"), value, 1.0, 1.0),
        StoredToken("2" * 32, "deploy", digest("b"), value, 1.0, 1.0),
        StoredToken("3" * 32, "from the file", digest("c"), value, 1.0, 1.0),
    ]
    file = (
        f"tokens: {{known: {{hash: '{digest('c')}', policies: [{{permissions: ['apps:read']}}]}}}}\napps: {{a: {APP}}}"
    )
    made = exported(file, tmp_path, tokens=tokens)
    config = load_text(made.text, "f")
    assert {name: one.hash for name, one in config.tokens.items()} == {
        "known": digest("c"),
        "deploy": digest("a"),
        "deploy-22222222": digest("b"),
    }


@pytest.mark.parametrize("text", ["a: [", "include: [none.yaml]", "[]"])
def test_invalid_files(tmp_path, text):
    with pytest.raises((ConfigError, ValueError)):
        exported(text, tmp_path)


def test_what_the_store_can_take(tmp_path, monkeypatch):
    monkeypatch.setenv("PORT", "22")
    found = importable_text(
        "workers: 1\napps: {a: {preset: ssh, protocol: 'tcp/${PORT}'}}\nmetrics: {listen: '[::1]:1'}\npools: {}",
        tmp_path,
    )
    assert found.objects == {"apps": {"a": {"preset": "ssh", "protocol": "tcp/22", "timeouts": {"idle": "1d"}}}}
    assert found.left_out == ["workers", "metrics"]
    monkeypatch.delenv("PORT")
    with pytest.raises(ValueError, match=r"again.yaml: apps.a.protocol: the environment variable PORT is not set"):
        importable_text("apps: {a: {protocol: 'tcp/${PORT}'}}", tmp_path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_examples_come_back(path):
    """Compared as values: what they name on this machine may not be here."""
    file = raw_file(path)
    made = export(file, NOTHING, [], with_secrets=True)
    document = Document(made.text)
    assert document.faults == []
    assert document.value == file


NAMES = st.sampled_from(["a", "b-1", "c.example.com", "on", "1.5", "0x1"])
ADDRESSES = st.sampled_from(["192.0.2.1", "198.51.100.7", "2001:db8::1"])
NOTES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), max_size=12)


@st.composite
def configurations(draw):
    """Plain values of a configuration without faults."""
    names = {key: draw(st.lists(NAMES, unique=True, min_size=1, max_size=3)) for key in ("apps", "pools", "lists")}
    zones = {"example.com": {"account": "acme"}, "example.org": {}}
    monitors = {
        "m": {"type": "http", "header": {"Authorization": [draw(NOTES)]}, "expected_body": draw(NOTES)},
        "n": {"type": "tcp", "interval": draw(st.sampled_from(["5s", 5, 0.5]))},
    }
    pools = {
        name: {
            "origins": [
                {"name": draw(NOTES.filter(bool)), "address": draw(ADDRESSES), "port": 80, "weight": draw(WEIGHTS)}
            ],
            **draw(st.sampled_from([{"monitor": "m"}, {"monitor": "n"}, {"monitor_group": "g"}])),
            "description": draw(NOTES),
        }
        for name in names["pools"]
    }
    apps = {
        name: {
            "protocol": f"tcp/{7000 + number}",
            "dns": {"name": f"a{number}.example.com"},
            "ip_firewall": True,
            **(
                {"load_balancer": "l"}
                if draw(st.booleans())
                else {
                    "origin_direct": [f"tcp://192.0.2.9:{7000 + number}"],
                    "timeouts": {"idle": draw(st.sampled_from([0, "1h"]))},
                }
            ),
        }
        for number, name in enumerate(names["apps"])
    }
    certificates = {
        name: {"acme": {"names": [f"{name}.example.com"], **draw(CAS)}, "zone": "example.com", **draw(PRIORITIES)}
        for name in ("w", "x")
    }
    for app in apps.values():
        app |= draw(st.sampled_from([{}, {"tls": "flexible"}, {"tls": "flexible", "edge_tls": EDGE_TLS}]))
    return {
        "accounts": {"acme": {}},
        "zones": zones,
        "monitors": monitors,
        "monitor_groups": {"g": {"members": [{"monitor": "m", "must_be_healthy": True}]}},
        "pools": pools,
        "load_balancers": {"l": {"default_pools": names["pools"], "description": draw(NOTES)}},
        "lists": {
            name: {"kind": "ip", "items": [{"ip": draw(ADDRESSES), "comment": draw(NOTES)}]} for name in names["lists"]
        },
        "access_rules": {
            "r": {"target": "ip", "list": names["lists"][0], "action": "block", "zone": "example.com"},
            "s": {"target": "ip_range", "values": ["192.0.2.0/24"], "action": "allow", "notes": draw(NOTES)},
        },
        "apps": apps | {"udp": {"protocol": "udp/7000", "origin_direct": ["udp://192.0.2.9:7000"]}},
        "certificates": certificates,
        **draw(protection()),
    }


@st.composite
def protection(draw):
    """Plain values of the sections against attacks. Without the filter, which is not an object, no rule is in use."""
    prefixes = draw(st.lists(st.sampled_from(["192.0.2.0/24", "2001:db8::/32"]), unique=True, min_size=1))
    component = draw(st.sampled_from(["syn_protection", "tcp_flow_protection"]))
    overrides = {"sensitivity_level": "medium", "categories": [{"category": "sip", "sensitivity_level": "low"}]}
    rule = {"description": draw(NOTES), "expression": "ip.dst in {192.0.2.0/24}", "overrides": overrides}
    return {
        "rulesets": {"default": {"rules": [rule]}},
        "tcp_protection": {"default": {"enabled": draw(st.booleans())}},
        "tcp_prefixes": {f"p{i}": {"prefix": one, "comment": draw(NOTES)} for i, one in enumerate(prefixes)},
        "tcp_allowlist": {f"a{i}": {"prefix": one, "enabled": draw(st.booleans())} for i, one in enumerate(prefixes)},
        "tcp_rules": {"r": {"component": component, "mode": "disabled", "rate_sensitivity": "low"}},
        "tcp_filters": {"f": {"component": component, "mode": "disabled", "expression": "ip.src in {192.0.2.0/24}"}},
        "flow_programs": {
            "f": {"source": str(PROGRAM), "apps": ["udp"], "mode": "disabled", "description": draw(NOTES)}
        },
    }


# What only the file has: the store's certificates name an authority of it.
SETTINGS = {"acme": {"authorities": {"ca": {"accept_terms": True, "dns": {"server": "192.0.2.53"}}}}}
CAS = st.sampled_from(
    [
        {"authority": "ca"},
        {"authority": "ca", "challenge": "dns-01", "key_type": "rsa"},
        {"accept_terms": True, "challenge": "http-01", "email": "ops@example.com"},
    ]
)
PRIORITIES = st.sampled_from([{}, {"priority": 7}])
EDGE_TLS = {"certificates": ["x"], "min_version": "1.3"}
WEIGHTS = st.sampled_from([0, 1, 0.5, 1e-7])


@examples(40)
@given(configurations(), st.data())
def test_file_store_export_file(tmp_path_factory, whole, data):
    """What a file says, some of it brought into the store, is what an export of both says."""
    assert whole.keys() == sections_of(None).keys() - {"tokens"}, "tokens have a test of their own"
    folder = tmp_path_factory.mktemp("store")
    wanted = load_text(yaml_of(SETTINGS | whole), "f")
    in_store = {
        (section, name)
        for section, some in whole.items()
        for name in some
        if data.draw(st.booleans(), f"{section} {name}")
    }
    file = {
        key: {name: one for name, one in some.items() if (key, name) not in in_store} for key, some in whole.items()
    }
    (folder / "file.yaml").write_text(yaml_of(SETTINGS | file))
    (folder / "import.yaml").write_text(yaml_of(pick(whole, in_store)))
    store = Store(folder)
    store.open()
    try:
        found = importable(folder / "import.yaml").objects
        changes = [ObjectChange(key, new_id(), name, one) for key, some in found.items() for name, one in some.items()]
        store.commit(changes, [], 1.0)
        content = read_objects(folder)
    finally:
        store.close()
    made = export(raw_file(folder / "file.yaml"), content, read_tokens(folder), with_secrets=True)
    assert sections_of(load_text(made.text, "f")) == sections_of(wanted)
    assert made.set_aside == []


def pick(whole, chosen):
    return {key: {name: one for name, one in some.items() if (key, name) in chosen} for key, some in whole.items()}


def yaml_of(values):
    return yaml_text(as_written(values))
