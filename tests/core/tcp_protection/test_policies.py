import random
from ipaddress import ip_address, ip_network

import pytest

from spectrum.core.configuration.config import Config
from spectrum.core.tcp_protection.policies import compile_policies, protected_spans, rule_of
from spectrum.core.tcp_protection.policy import MAX_POLICIES, Policies, Policy
from spectrum.core.tcp_protection.terms import TooManyTerms

SYN, FLOW = 0, 1
RULES = {
    "syn": {"component": "syn_protection", "mode": "enabled", "mitigation_type": "retransmit"},
    "flow": {"component": "tcp_flow_protection", "mode": "monitoring", "rate_sensitivity": "high"},
}


def config(node=None, **sections):
    return Config.model_validate({"node": node or {}, **sections})


def number(text):
    address = ip_address(text)
    return int(address) + (0xFFFF << 32 if address.version == 4 else 0)


def judge(found: Policies, component: int, source: str, destination: str, source_port=40000, port=22) -> Policy:
    """Return what the kernel finds for a packet."""
    mask = found.components[component]
    packet = (number(source), 128), (number(destination), 128), (source_port, 16), (port, 16)
    for table, (value, bits) in zip(found.tables, packet, strict=True):
        if table:
            longest = max(one for one in table if value >> bits - one[0] == one[1] >> bits - one[0])
            mask &= table[longest]
    return found.policies[(mask & -mask).bit_length() - 1] if mask else Policy()


def flow_filter(mode, expression):
    return {"component": "tcp_flow_protection", "mode": mode, "expression": expression}


def test_precedence():
    found = compile_policies(
        config(
            tcp_rules=RULES,
            tcp_prefixes={"a": {"prefix": "192.0.2.0/24"}, "b": {"prefix": "192.0.2.64/26", "excluded": True}},
            tcp_allowlist={
                "x": {"prefix": "198.51.100.0/24"},
                "y": {"prefix": "203.0.113.0/24", "enabled": False},
            },
            tcp_filters={
                "off": flow_filter("disabled", "tcp.dstport in {80 443 444}"),
                "watch": flow_filter("monitoring", "tcp.dstport in {443 444}"),
                "stop": flow_filter("enabled", "tcp.dstport eq 444 and not ip.src in {203.0.113.7}"),
            },
        )
    )
    cases = [
        (FLOW, "203.0.113.1", "192.0.2.1", 22, "monitoring", 500),
        (FLOW, "203.0.113.1", "192.0.2.1", 80, "disabled", 500),
        (FLOW, "203.0.113.1", "192.0.2.1", 443, "monitoring", 500),
        (FLOW, "203.0.113.1", "192.0.2.1", 444, "enabled", 500),
        (FLOW, "203.0.113.7", "192.0.2.1", 444, "monitoring", 500),
        (FLOW, "203.0.113.1", "192.0.2.65", 444, "disabled", 0),
        (FLOW, "203.0.113.1", "192.0.3.1", 444, "disabled", 0),
        (FLOW, "198.51.100.1", "192.0.2.1", 444, "disabled", 0),
        (FLOW, "2001:db8::1", "192.0.2.1", 444, "enabled", 500),
        (SYN, "203.0.113.1", "192.0.2.1", 80, "enabled", 2000),
        (SYN, "198.51.100.1", "192.0.2.1", 80, "disabled", 0),
    ]
    for component, source, destination, port, mode, rate in cases:
        policy = judge(found, component, source, destination, port=port)
        assert (policy.mode, policy.packets_per_second) == (mode, rate), (source, destination, port)
    assert judge(found, SYN, "203.0.113.1", "192.0.2.1").retransmit


def test_nothing_is_on_without_a_mode():
    assert compile_policies(config()) == Policies()
    assert not compile_policies(config(tcp_allowlist={"x": {"prefix": "198.51.100.0/24"}})).is_on
    assert not compile_policies(config(tcp_rules=RULES, tcp_protection={"all": {"enabled": False}})).is_on
    assert not compile_policies(config(tcp_filters={"off": flow_filter("disabled", "true")})).is_on
    everywhere = {"a": {"prefix": "0.0.0.0/0"}, "b": {"prefix": "0.0.0.0/1", "excluded": True}}
    some = compile_policies(config(tcp_rules=RULES, tcp_prefixes=everywhere))
    assert judge(some, SYN, "192.0.2.1", "192.0.2.2").mode == "enabled"
    assert judge(some, SYN, "192.0.2.1", "10.0.0.1").mode == "disabled"


def test_a_filter_needs_no_rule():
    found = compile_policies(config(tcp_filters={"one": flow_filter("enabled", "tcp.dstport eq 22")}))
    assert found.policies == (Policy("enabled", 2000, 1000),)
    assert found.components == (0, 1)


def test_all_destinations_without_prefixes_need_no_table():
    found = compile_policies(config(tcp_rules=RULES))
    assert found.tables == ({}, {}, {}, {}) and found.components == (1, 2)
    assert found.policies[0] == Policy("enabled", 2000, 1000, True)


@pytest.mark.parametrize(
    ("node", "name"),
    [({}, "g"), ({"region": "WEU"}, "r"), ({"region": "WEU", "name": "fra1"}, "d"), ({"name": "ams1"}, "g")],
)
def test_the_most_specific_rule_of_this_node_holds(node, name):
    rules = {
        "g": RULES["syn"],
        "r": RULES["syn"] | {"scope": "region", "place": "WEU"},
        "d": RULES["syn"] | {"scope": "datacenter", "place": "fra1"},
    }
    assert rule_of(config(node, tcp_rules=rules), "syn_protection")[0] == name
    assert rule_of(config(node, tcp_rules=rules), "tcp_flow_protection") is None


def test_the_longest_prefix_counts():
    prefixes = {
        "a": {"prefix": "10.0.0.0/8"},
        "b": {"prefix": "10.1.0.0/16", "excluded": True},
        "c": {"prefix": "10.1.2.0/24"},
        "d": {"prefix": "::/0"},
    }
    spans = protected_spans(config(tcp_prefixes=prefixes).tcp_prefixes.values())
    inside = {"10.0.0.1": True, "10.1.0.1": False, "10.1.2.3": True, "2001:db8::1": True, "192.0.2.1": False}
    for text, expected in inside.items():
        assert any(low <= number(text) <= high for low, high in spans) == expected, text


def test_tables_are_the_sets():
    chance = random.Random(18)
    nets = [
        str(ip_network((chance.getrandbits(32) & 0x0F0F0F00, chance.randint(8, 28)), strict=False)) for _ in range(60)
    ]
    filters = {
        f"f{n}": flow_filter(
            "enabled", f"{'not ' * (n % 2)}ip.src in {{{' '.join(nets[n * 3 : n * 3 + 3])}}} and tcp.srcport gt {n}"
        )
        for n in range(20)
    }
    found = compile_policies(config(tcp_filters=filters))
    for _ in range(300):
        source = str(ip_address(chance.getrandbits(32) & 0x0F0F0FFF))
        expected = [
            any(ip_address(source) in ip_network(net) for net in nets[n * 3 : n * 3 + 3]) != bool(n % 2)
            for n in range(20)
        ]
        mask = found.tables[0]
        value = number(source)
        longest = max(one for one in mask if value >> 128 - one[0] == one[1] >> 128 - one[0])
        assert [bool(mask[longest] >> n & 1) for n in range(20)] == expected


def test_too_much_is_reported():
    filters = {
        f"f{n}": flow_filter("enabled", f"tcp.srcport eq {n} and tcp.dstport eq {n}") for n in range(MAX_POLICIES + 1)
    }
    with pytest.raises(TooManyTerms, match="129 alternatives"):
        compile_policies(config(tcp_filters=filters))
    odd = " ".join(str(n) for n in range(1, 1400, 2))
    many = {f"f{n}": flow_filter("enabled", f"tcp.srcport in {{{odd}}} and tcp.dstport eq {n}") for n in range(2)}
    assert len(compile_policies(config(tcp_filters=many)).tables[2]) < 1500
