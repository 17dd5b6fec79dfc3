import pytest

from spectrum.core.ddos.managed import BY_REF
from spectrum.core.ddos.overrides import ManagedOverride, Overrides, Ruling, Setting

NTP, SYN, UDP = BY_REF["RFL-0002"], BY_REF["TCP-0001"], BY_REF["UDP-0001"]
LOW, LOG = Setting("low"), Setting(action="log")
TO_A = {"ip.dst": ((0xFFFF_C000_0207, 0xFFFF_C000_0207),), "ip.proto.num": ((17, 17),)}


def said(number=1, expression="true", everything=Setting(), categories=(), rules=()):  # noqa: B008
    return ManagedOverride(f"{number:032x}", f"override {number}", expression, everything, categories, rules)


@pytest.mark.parametrize(
    ("overrides", "rule", "level", "action", "name"),
    [
        ((), NTP, "default", "ddos_dynamic", ""),
        ((said(everything=LOW),), NTP, "low", "ddos_dynamic", "override 1"),
        ((said(everything=Setting("eoff", "log")),), SYN, "eoff", "log", "override 1"),
        # a rule before a tag before all
        (
            (said(everything=LOW, categories=(("udp", Setting("medium")),)),),
            NTP,
            "medium",
            "ddos_dynamic",
            "override 1",
        ),
        (
            (said(categories=(("udp", LOW),), rules=((NTP.id, Setting("eoff")),)),),
            NTP,
            "eoff",
            "ddos_dynamic",
            "override 1",
        ),
        # each value by itself
        ((said(everything=LOW, rules=((NTP.id, LOG),)),), NTP, "low", "log", "override 1"),
        # the last of several tags
        ((said(categories=(("udp", LOW), ("ntp", Setting("medium")))),), NTP, "medium", "ddos_dynamic", "override 1"),
        ((said(categories=(("ntp", Setting("medium")), ("udp", LOW))),), NTP, "low", "ddos_dynamic", "override 1"),
        # one that says nothing of the rule is not the one
        ((said(1, rules=((SYN.id, LOG),)), said(2, everything=LOW)), NTP, "low", "ddos_dynamic", "override 2"),
        ((said(1, rules=((SYN.id, LOG),)), said(2, everything=LOW)), SYN, "default", "log", "override 1"),
        # the first that fits, and no other
        ((said(1, everything=LOG), said(2, everything=LOW)), NTP, "default", "log", "override 1"),
        ((said(1, "ip.dst in {192.0.2.0/24}", LOW),), NTP, "low", "ddos_dynamic", "override 1"),
        ((said(1, "ip.dst in {198.51.100.0/24}", LOW),), NTP, "default", "ddos_dynamic", ""),
        ((said(1, "not ip.dst in {198.51.100.0/24}", LOW),), NTP, "low", "ddos_dynamic", "override 1"),
        # what the fingerprint does not have
        ((said(1, "ip.src in {192.0.2.0/24}", LOW),), NTP, "default", "ddos_dynamic", ""),
        ((said(1, "not ip.src in {192.0.2.0/24}", LOW),), NTP, "default", "ddos_dynamic", ""),
        ((said(1, "ip.src in {192.0.2.0/24} or ip.proto.num eq 17", LOW),), NTP, "low", "ddos_dynamic", "override 1"),
    ],
)
def test_the_first_override_that_fits_is_the_one(overrides, rule, level, action, name):
    ruling = Overrides(overrides).judge(rule, TO_A)
    assert (ruling.sensitivity_level, ruling.action, ruling.override) == (level, action, name)
    assert ruling.override_id == (f"{int(name[-1]):032x}" if name else "")


def test_what_holds_everywhere_holds_where_no_override_says_anything():
    overrides = Overrides([said(everything=LOG, expression="ip.proto.num eq 17")], Setting("medium", "block"))
    assert overrides.judge(UDP, TO_A) == Ruling("medium", "log", "override 1", f"{1:032x}")
    assert overrides.judge(UDP, {}) == Ruling("medium", "block")


@pytest.mark.parametrize(
    ("everywhere", "levels", "expected"),
    [
        (None, (), "default"),
        ("low", (), "low"),
        ("low", ("medium", "eoff"), "medium"),
        ("eoff", ("default",), "default"),
        (None, ("low",), "default"),
    ],
)
def test_alarms_are_raised_by_the_most_sensitive(everywhere, levels, expected):
    some = [said(rules=((UDP.id, Setting(level)),), categories=(("udp", Setting()),)) for level in levels]
    assert Overrides(some, Setting(everywhere)).most_sensitive == expected
