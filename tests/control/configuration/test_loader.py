import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration.loader import ConfigError, KnownObjects, load_file, load_text
from tests.plane.access.test_geoip import database
from tests.wrong import ANYTHING_IN_YAML, places, replaced

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "config"
GOOD = "apps: {x: {protocol: tcp/22, origin_direct: [tcp://192.0.2.1:22]}}"


def diagnostics(text):
    with pytest.raises(ConfigError) as caught:
        load_text(text, "f")
    return list(map(str, caught.value.diagnostics))


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.name)
def test_the_files_we_ship_load(path):
    assert load_file(path).apps


def test_a_good_text():
    config = load_text(GOOD + "\nworkers: 3", "f")
    assert (list(config.apps), config.workers) == (["x"], 3)


def test_the_issue_of_every_field():
    """The file that the README promises."""
    text = """
apps:
  ssh:
    protocol: tcp/2222
    edge_ips: [127.0.0.1, "::1"]
    origin_direct: [tcp://127.0.0.1:22]
    proxy_protocol: v1
  web:
    protocol: tcp/8000-8009
    origin_dns: {name: localhost, type: A, ttl: 600}
    origin_port: 9000-9009
    proxy_protocol: v2
    accept_proxy_protocol: {from: [127.0.0.0/8]}
    timeouts: {connect: 5s, idle: 1h}
workers: auto
metrics: {listen: 127.0.0.1:9090}
"""
    config = load_text(text, "f")
    assert config.workers == 0
    assert config.apps["web"].timeouts.idle_s == 3600


@pytest.mark.parametrize("path", ["/run/x.sock", "x.sock", "/" + "x" * 106, "/" + "ü" * 53])
def test_a_control_socket(path):
    assert load_text(f"{GOOD}\ncontrol: {{socket: {path}}}", "f").control.socket == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ('""', "this one has 0"),
        ("/" + "x" * 107, "at most 107 bytes; this one has 108"),
        ("/" + "ü" * 54, "at most 107 bytes; this one has 109"),
        (r'"/run/\0x"', "expected the path of a UNIX socket"),
        ("7", "expected text, found 7"),
    ],
)
def test_no_control_socket(path, why):
    (said,) = diagnostics(f"{GOOD}\ncontrol: {{socket: {path}}}")
    assert said.startswith("f:2:") and "control.socket: " in said and why in said


def test_every_fault_at_once_in_the_order_of_lines():
    found = diagnostics(
        """apps:
  one:
    protocl: tcp/22
    origin_direct: [tcp://192.0.2.1]
  two: {protocol: tcp/23, origin_direct: [tcp://192.0.2.1:22], proxy_protocol: v3}
  "b@d": {protocol: tcp/24, origin_direct: [tcp://192.0.2.1:22]}
  two: {}
wrkers: 1
"""
    )
    assert found[:2] == [
        'f:3:5: apps.one.protocol: "protocol" is missing',
        'f:3:5: apps.one.protocl: unknown key "protocl"; did you mean "protocol"?',
    ]
    assert [re.match(r"f:(\d+):", line)[1] for line in found] == ["3", "3", "4", "5", "6", "7", "8"]
    assert found[3] == "f:5:80: apps.two.proxy_protocol: expected off or v1 or v2 or simple, found 'v3'"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "f:1:1: the file is empty"),
        ("[]", "expected a mapping with apps, found an empty list"),
        ("workers: 1", 'f:1:1: the file has no "apps"'),
        ("apps: {}", "expected a mapping of names to apps, found an empty mapping"),
        ("apps: []", "found an empty list"),
        ("apps: 5", "found 5"),
        ("a: [", "not YAML"),
    ],
)
def test_texts_without_apps(text, says):
    assert says in diagnostics(text)[0]


APP = "{protocol: tcp/22, origin_direct: [tcp://192.0.2.1:22]}"
POOL = "{origins: [{name: o, address: 192.0.2.1, port: 22}]}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"load_balancers:\n  b: {APP}", 'f:3:3: load_balancers.b: this looks like an app: it belongs under "apps:"'),
        (f"b: {APP}", 'f:2:1: b: this looks like an app: it belongs under "apps:"'),
        (f"  b: {POOL}", 'f:2:3: apps.b: this looks like a pool: it belongs under "pools:"'),
        ("  b: {<<: x}", "a merge key takes a mapping"),
        ("  b: {include: [a.yaml]}", "files are included at the top of a file"),
    ],
)
def test_what_stands_in_the_wrong_place_is_one_fault(text, says):
    found = diagnostics(f"apps: {{a: {APP}}}\n{text}" if not text.startswith(" ") else f"apps:\n{text}\n  a: {APP}")
    assert any(says.removeprefix("f:2:3: ").removeprefix("f:2:1: ").removeprefix("f:3:3: ") in line for line in found)
    if says.startswith("f:"):
        assert found == [says]


WORDS = [
    "apps",
    "x",
    "protocol",
    "tcp/22",
    "origin_direct",
    "tcp://192.0.2.1:22",
    "timeouts",
    "idle",
    "5s",
    "off",
    "workers",
]
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.sampled_from(WORDS), st.text(max_size=5)
)
trees = st.recursive(
    plain, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.sampled_from(WORDS), t, max_size=4), max_leaves=12
)


@given(trees)
def test_whatever_the_shape_the_answer_is_a_config_or_diagnostics(tree):
    text = json.dumps({"apps": {"x": tree}})
    try:
        load_text(text, "f")
        return
    except ConfigError as error:
        found = error.diagnostics
    assert found
    assert all(diagnostic.place.line >= 1 and diagnostic.message for diagnostic in found)


def test_a_file_of_countries_is_looked_at(tmp_path):
    (found,) = diagnostics(GOOD + "\ngeoip: {database: /nowhere/x.mmdb}")
    assert found == "f:2:19: geoip.database: /nowhere/x.mmdb: no such file or directory"
    path = database(tmp_path / "x.mmdb", [(["192.0.2.0/24"], {"country": "DE"})])
    assert load_text(GOOD + f"\ngeoip: {{database: {path}}}", "f").geoip.database == str(path)


def test_sections_that_are_no_mappings():
    assert diagnostics(GOOD + "\npools: [a]\nmonitors: 5") == [
        "f:2:8: pools: expected a mapping of names to pools, found a list",
        "f:3:11: monitors: expected a mapping of names to monitors, found 5",
    ]
    assert diagnostics(GOOD + "\npools: {-x: {origins: [{name: a, address: a.example}]}}") == [
        "f:2:9: pools.-x: '-x' is not a name for a pool; letters, digits, dot, dash and underscore, at most 63"
    ]


KNOWN = """
monitors: {{m: {{type: tcp}}}}
apps:
  a: {{protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:1'], proxy_protocol: {}}}
  b: {{protocol: tcp/2, origin_direct: ['tcp://192.0.2.1:1']}}
"""


def test_what_stands_in_the_file_unchanged_is_the_same_object():
    known = KnownObjects()
    first = load_text(KNOWN.format("off"), "x", known=known)
    second = load_text(KNOWN.format("v1"), "x", known=known)
    assert second.apps["b"] is first.apps["b"]
    assert second.monitors["m"] is first.monitors["m"]
    assert (first.apps["a"].proxy_protocol, second.apps["a"].proxy_protocol) == ("off", "v1")
    third = load_text(KNOWN.format("off").replace("  b:", "  c:"), "x", known=known)
    assert third.apps["a"] == first.apps["a"]
    assert list(third.apps) == ["a", "c"]


@pytest.mark.parametrize(("was", "now"), [("off", "1"), ("off", "true"), ("off", "no_such")])
def test_what_is_wrong_is_wrong_each_time(was, now):
    known = KnownObjects()
    load_text(KNOWN.format(was), "x", known=known)
    for _ in range(2):
        with pytest.raises(ConfigError, match="proxy_protocol"):
            load_text(KNOWN.format(now), "x", known=known)
    assert load_text(KNOWN.format(was), "x", known=known).apps["a"].proxy_protocol == was


def test_values_of_another_kind_are_others():
    """Python's 1 is equal to its true; a file's is not."""
    known = KnownObjects()
    text = "apps: {{a: {{protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:1'], ip_firewall: {}}}}}"
    assert load_text(text.format("true"), "x", known=known).apps["a"].ip_firewall
    with pytest.raises(ConfigError, match="ip_firewall"):
        load_text(text.format("1"), "x", known=known)


def test_keys_of_ones_own_are_passed_over():
    assert load_text(f"x-defaults: &it {APP}\napps: {{a: {{<<: *it}}}}\n", "f").apps["a"].origin_direct
    (found,) = diagnostics(f"apps: {{a: {{<<: {APP}, x-note: 5}}}}\n")
    assert 'apps.a.x-note: unknown key "x-note"' in found


def test_a_fault_in_what_is_merged_stands_where_that_stands():
    text = f"x-tcp: &tcp\n  proxy_protocol: v3\napps:\n  a: {{<<: *tcp, {APP[1:]}\n"
    assert diagnostics(text) == [
        "f:2:19: apps.a.proxy_protocol: expected off or v1 or v2 or simple, found 'v3'",
    ]


def files():
    """Return the files of the docs and the examples, as values."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    texts = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
    texts += [path.read_text() for path in sorted(CONFIG.rglob("*.yaml"))]
    values = [value for value in map(yaml.safe_load, texts) if isinstance(value, dict)]
    return [yaml.safe_load(GOOD) | value for value in values]


FILES = files()


@given(st.sampled_from(FILES), st.data())
def test_whatever_is_wrong_in_a_file_is_said(value, data):
    place = data.draw(st.sampled_from(list(places(value))))
    text = yaml.safe_dump(replaced(value, place, data.draw(st.sampled_from(ANYTHING_IN_YAML))))
    with suppress(ConfigError):
        load_text(text, "f")


@pytest.mark.parametrize(
    "text",
    [
        "geoip: {database: PATH}",
        "geoip: {asn_database: PATH}",
        "access_rules: {x: {target: ip, action: block, file: PATH}}",
        "filter: {interfaces: [lo], lists: {x: {file: PATH}}}",
        "certificates: {x: {certificate: PATH, key: /k}}",
        "certificates: {x: {certificate: /c, key: PATH}}",
        "certificates: {x: {certificate: /c, key: /k, ocsp: PATH}}",
        "dns: {server: 192.0.2.53, zone: example.com, tsig_key: PATH}",
        "acme: {folder: PATH}",
        "kernel: {bpffs: PATH}",
        "control: {socket: PATH}",
        "api: {listen: 'unix:PATH'}",
        "user: PATH",
    ],
)
def test_a_path_that_no_file_can_have(text):
    said = diagnostics(GOOD + "\n" + text.replace("'unix:PATH'", '"unix:/a\\0b"').replace("PATH", '"/a\\0b"'))
    assert any("/a\\x00b" in line or "UNIX socket" in line for line in said), said
