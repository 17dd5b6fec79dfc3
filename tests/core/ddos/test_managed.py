import hashlib
import re

import pytest

from spectrum.core.ddos.expressions import holds, parse
from spectrum.core.ddos.managed import (
    BY_ID,
    BY_REF,
    CATEGORIES,
    RULES,
    RULESET_VERSION,
    SENSITIVITIES,
    adaptive_rule,
)
from spectrum.core.packets import PROTOCOLS
from tests.core.ddos.managed_table import PAGE, table

# What overrides name: of each version, the digest of all ids and references.
KNOWN = {"1": "47b01889c6100a6a"}


def test_ids_and_references_stay_what_they_are():
    text = " ".join(f"{rule.ref}={rule.id}" for rule in sorted(RULES, key=lambda rule: rule.ref))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == KNOWN[RULESET_VERSION]


def test_each_rule_has_an_id_of_its_own_and_says_what_it_is():
    assert len(BY_ID) == len(BY_REF) == len(RULES) > 100
    for rule in RULES:
        assert re.fullmatch("[0-9a-f]{32}", rule.id), rule
        assert rule.name and rule.description.endswith("."), rule
        assert set(rule.categories) <= set(CATEGORIES) and rule.categories, rule
        thresholds = [rule.threshold(level) for level in SENSITIVITIES]
        assert thresholds == sorted(thresholds) and thresholds[0] >= 2_000, rule
        assert rule.action == "log" if "advanced" in rule.categories else rule.action != "log", rule


@pytest.mark.parametrize(
    ("ref", "rule_id"),
    [
        ("UDP-0001", "599dab0942ff4898ac1b7797e954e98b"),
        ("TCP-0001", "9da0fb429a25436fa543519f4570f19f"),
        ("TCP-0002", "6efeb57a52e744e89a5413121bd0b3d3"),
        ("DNS-0002", "520f5ecec28844ca971a8b3f9c425c26"),
    ],
)
def test_overrides_of_cloudflares_rules_are_about_the_same_here(ref, rule_id):
    assert BY_ID[rule_id] is BY_REF[ref]


@pytest.mark.parametrize(
    ("dimension", "protocol", "version", "end"),
    [
        ("protocol", "udp", 4, "58e4914a"),
        ("country", "udp", 6, "aa772b5c"),
        ("destination_port", "udp", 4, "85fa2e98"),
        ("protocol", "gre", 4, "ad8078b8"),
        ("protocol", "gre", 6, "8de83ef6"),
        ("protocol", "sctp", 6, "76d5e15c"),
        ("length", "tcp", 4, None),
        ("country", "icmp", 4, ""),
    ],
)
def test_more_than_the_profile_of_a_dimension(dimension, protocol, version, end):
    rule = adaptive_rule(dimension, PROTOCOLS[protocol], version)
    if end == "":
        assert rule is None
    else:
        assert rule is not None and rule.id.endswith(end or "") and rule.action == "log"


def test_expressions_of_rules_are_understood_and_true_of_their_packets():
    assert BY_REF["RFL-0002"].signature.expression == "ip.proto.num eq 17 and udp.srcport eq 123"
    assert BY_REF["TCP-0103"].signature.expression == "ip.proto.num eq 6 and tcp.flags.syn and tcp.flags.fin"
    assert BY_REF["RFL-0013"].signature.expression == "ip.proto.num eq 17 and udp.srcport in {26000 27950..27970}"
    assert BY_REF["GENERIC-0003"].signature.expression == "true"
    ntp = {"ip.proto.num": ((17, 17),), "udp.srcport": ((123, 123),), "ip.len": ((468, 468),)}
    matching = [
        rule.ref for rule in RULES if rule.signature and holds(parse(rule.signature.expression), ntp.get) is True
    ]
    assert matching[0] == "RFL-0002"


def test_the_documents_table_is_the_rules():
    assert table() in PAGE.read_text()
