"""A file of which some apps differ comes to what it comes to as a whole, faults and their places included."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration import includes
from spectrum.control.configuration.loader import ConfigError, KnownObjects, load_text
from tests.properties import examples

HEAD = """\
metrics: {listen: '127.0.1.1:5'}
pools:
  p: {origins: [{name: a, address: 127.0.0.5, port: 5}]}
load_balancers:
  lb: {default_pools: [p]}
access_rules:
  r: {target: ip, value: 192.0.2.1, action: block}
busy_poll: off
# apps
apps:  # of all kinds
  z: {protocol: tcp/1, origin_direct: ['tcp://198.51.100.1:1'], ip_firewall: true}
"""
LOCAL = [ip_address("127.0.0.1"), ip_address("192.0.2.200")]
HOSTS = ("127.0.0.1", "127.0.0.5", "192.0.2.200", "0.0.0.0", "'::'")
LINES = st.sampled_from(
    [
        *(f"edge_ips: [{host}]" for host in HOSTS),
        "ip_firewall: true",
        "sni: [a.example]",
        "sni: ['*.b.example']",
        "alpn: [h2]",
        "proxy_protocol: v2",
        "tls: flexible",
        "source: client",
        "tproxy: {port: 5, prefixes: [127.0.0.0/28]}",
        "bindings: [{prefix: 203.0.113.0/28}]",
        "accept_proxy_protocol: {from: [10.0.0.0/8]}",
        "timeouts: {idle: 5s}",
        "preset: ssh",
        "wrong: key",
        "note: &a x",
        "timeouts: *a",
        'on_remove: "keep',
        "on_remove: >-\n      keep\n",
        "\tkeep: 5",
        "# nothing",
    ]
)


@st.composite
def apps(draw):
    """The text of an app, mostly a right one."""
    transport = draw(st.sampled_from(["tcp", "tcp", "tcp", "udp"]))
    port, to = draw(st.integers(4, 6)), draw(st.integers(4, 6))
    host = draw(st.sampled_from(["127.0.0.1", "127.0.0.5", "192.0.2.200", "198.51.100.1"]))
    origins = [f"origin_direct: ['{transport}://{host}:{to}']"] * 4
    origins += ["load_balancer: lb", f"origin_dns: {{name: x.example}}\n    origin_port: {to}"]
    lines = [f"protocol: {transport}/{port}", draw(st.sampled_from(origins))]
    usual = f"edge_ips: [127.0.{draw(st.integers(1, 3))}.{draw(st.integers(1, 3))}]"
    lines += draw(st.just([usual]) | st.lists(LINES, max_size=2))
    return "".join(f"    {line}\n" for line in lines)


TAILS = st.sampled_from(["", "", "", "", "workers: 1\n", "# end\n", "  \n", "...\n", "- x\n"])


@st.composite
def versions(draw):
    """Versions of a file, each with some other apps than the one before."""
    found, made, tail = {}, [], ""
    for _ in range(draw(st.integers(2, 5))):
        found = {name: body for name, body in found.items() if draw(st.integers(0, 4))}
        for name in draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=2)):
            found[name] = draw(apps())
        order = list(found) if draw(st.integers(0, 3)) else draw(st.permutations(sorted(found)))
        if not draw(st.integers(0, 9)):
            order.append(order[0])
        tail = tail if draw(st.integers(0, 3)) else draw(TAILS)
        made.append(HEAD + "".join(f"  {name}:\n{found[name]}" for name in order) + tail)
    return made


def loaded(text, known=None):
    try:
        return load_text(text, "f", LOCAL, known=known)
    except ConfigError as exc:
        return str(exc)


@examples(150)
@given(versions())
def test_a_file_in_parts_is_the_file_as_a_whole(texts):
    known = KnownObjects()
    for text in texts:
        assert loaded(text, known) == loaded(text)


EDITS = st.text(" \t\n:'\"{}[],&*#-|>!%?ab1\u2028", min_size=0, max_size=6) | st.sampled_from(
    [
        "apps:\n",
        "\napps:\n  a:\n",
        "  b:\n",
        "\n  'a': 1\n",
        "\n---\n",
        "\n...\n",
        "\n c: 1\n",
        "&x ",
        "*x",
        "\n%YAML 1.1\n",
    ]
)


@examples(200)
@given(st.data())
def test_any_edit(data):
    """What looks like an app, and is none, is never taken for one."""
    known, text = KnownObjects(), PLAIN.replace("tcp/2\n", "tcp/2  # 2\n    timeouts:\n      idle: '5s'\n")
    for _ in range(data.draw(st.integers(2, 4))):
        assert loaded(text, known) == loaded(text)
        begin = data.draw(st.integers(0, len(text)))
        end = min(len(text), begin + data.draw(st.sampled_from([0, 0, 1, 2, 9, 40])))
        edited = text[:begin] + data.draw(EDITS) + text[end:]
        assert loaded(edited, known) == loaded(edited)
        if data.draw(st.booleans()):
            text = edited


APP = "  {}:\n    protocol: tcp/{}\n    origin_direct: [tcp://198.51.100.1:1]\n"
PLAIN = "workers: 1\napps:\n" + "".join(APP.format(name, port) for port, name in enumerate("abc", 1))


@pytest.fixture
def whole(monkeypatch):
    """How often a file was read as a whole."""
    read = []
    document = includes.Document
    monkeypatch.setattr(includes, "Document", lambda text: read.append(text) or document(text))
    return read


def test_only_what_differs_is_read(whole):
    known = KnownObjects()
    before = load_text(PLAIN, "f", known=known)
    after = load_text(PLAIN.replace("tcp/2", "tcp/20"), "f", known=known)
    assert len(whole) == 1
    assert after.apps["a"] is before.apps["a"]
    assert after.apps["b"].protocol.ports.first == 20
    removed = load_text(PLAIN.replace(APP.format("a", 1), ""), "f", known=known)
    assert list(removed.apps) == ["b", "c"]
    added = load_text(PLAIN + APP.format("d", 9), "f", known=known)
    assert list(added.apps) == ["a", "b", "c", "d"]
    assert len(whole) == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (PLAIN.replace("tcp/2", "tcp/1"), "f:7:15: apps.b.protocol: [::]:1 is taken by app a"),
        (PLAIN.replace("tcp/2", "tcq/2"), "f:7:15: apps.b.protocol: 'tcq/2' is"),
        (PLAIN + APP.format("a", 9), 'f:12:3: "a" stands here twice, first at line 3'),
        (PLAIN + "  d: {\n", "f:13:1: not YAML"),
        (PLAIN + "    also: 5\n", 'f:12:5: apps.c.also: unknown key "also"'),
    ],
)
def test_a_fault_has_its_place(text, fault, whole):
    known = KnownObjects()
    load_text(PLAIN, "f", known=known)
    with pytest.raises(ConfigError) as caught:
        load_text(text, "f", known=known)
    assert str(caught.value).startswith(fault)
    # And what was loaded before is still known.
    del whole[:]
    load_text(PLAIN.replace("tcp/3", "tcp/30"), "f", known=known)
    assert whole == []


def test_settings_are_read_as_a_whole(whole):
    known = KnownObjects()
    load_text(PLAIN, "f", known=known)
    assert load_text(PLAIN.replace("workers: 1", "workers: 2"), "f", known=known).workers == 2
    assert len(whole) == 2


def test_the_last_app_that_asks_for_rules():
    known = KnownObjects()
    rules = "access_rules: {r: {target: ip, value: 192.0.2.1, action: block}}\n" + PLAIN
    load_text(rules + "    ip_firewall: true\n", "f", known=known)
    assert loaded(rules, known) == loaded(rules)
    assert "no app uses access rules" in loaded(rules, known)
