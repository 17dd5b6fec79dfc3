import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.core.configuration.fitting import Fitting

APP = "protocol: tcp/7000, origin_direct: ['tcp://192.0.2.9:22']"


def faults(rule, app="ip_firewall: true", more=""):
    with pytest.raises(ConfigError) as caught:
        load_text(f"apps: {{x: {{{APP}, {app}}}}}\naccess_rules: {{r: {{{rule}}}}}\n{more}", "f")
    return [str(diagnostic).split(": ", 1)[1] for diagnostic in caught.value.diagnostics]


def test_a_rule_that_fits():
    rules = "access_rules: {r: {target: ip, value: 192.0.2.1, action: allow}}"
    text = f"apps: {{x: {{{APP}, ip_firewall: true}}}}\n{rules}"
    assert load_text(text, "f").access_rules["r"].action == "allow"


@pytest.mark.parametrize(
    ("rule", "app", "message"),
    [
        (
            "target: ip, value: 192.0.2.1, action: block",
            "ip_firewall: false",
            "access_rules.r: no app uses access rules; write ip_firewall: true in those that should",
        ),
        (
            "target: ip, value: 192.0.2.1, action: block, apps: [x]",
            "ip_firewall: false",
            "access_rules.r.apps[0]: app x does not use access rules; write ip_firewall: true there",
        ),
        (
            "target: ip, value: 192.0.2.1, action: block, apps: [x, xx]",
            "ip_firewall: true",
            'access_rules.r.apps[1]: there is no app "xx"; did you mean "x"?',
        ),
        (
            "target: ip, list: bad, action: block",
            "ip_firewall: true",
            'access_rules.r.list: there is no list "bad"; write lists: {NAME: {kind: ip, items: [...]}}',
        ),
        (
            "target: country, value: DE, action: block",
            "ip_firewall: true",
            "access_rules.r.target: countries come from an MMDB file; write geoip: {database: ...}",
        ),
        (
            "target: asn, value: AS1, action: block",
            "ip_firewall: true",
            "access_rules.r.target: autonomous systems come from an MMDB file; write geoip: {asn_database: ...}",
        ),
        (
            "target: ip, file: /nowhere/list, action: block",
            "ip_firewall: true",
            "access_rules.r.file: /nowhere/list: cannot be read: no such file or directory",
        ),
        (
            "target: ip_range, value: 192.0.2.1/24, action: block",
            "ip_firewall: true",
            "access_rules.r.value: '192.0.2.1/24' is not a prefix; write 192.0.2.0/24 or 2001:db8::/32 "
            "(192.0.2.1/24 has host bits set)",
        ),
    ],
)
def test_faults(rule, app, message):
    assert faults(rule, app) == [message]


def test_a_faulty_app_does_not_make_its_rules_faulty():
    rules = "access_rules: {r: {target: ip, value: 192.0.2.1, action: block}}"
    with pytest.raises(ConfigError) as caught:
        load_text(f"apps: {{x: {{{APP}, ip_firewall: maybe}}}}\n{rules}", "f")
    assert len(caught.value.diagnostics) == 1


def test_lists_and_what_goes_with_them():
    lists = "lists: {bad: {kind: ip, items: [192.0.2.1]}, hosters: {kind: asn, items: [AS1]}}"
    assert faults("target: ip, list: badd, action: block", more=lists) == [
        'access_rules.r.list: there is no list "badd"; did you mean "bad"?'
    ]
    assert faults("target: ip, list: hosters, action: block", more=lists) == [
        "access_rules.r.list: list hosters is of kind asn, which cannot be used with target: ip"
    ]


def test_a_rule_of_a_zone_or_an_account_is_for_apps_to_come():
    rules = "r: {target: ip, value: 192.0.2.1, action: block, zone: a.example}"
    text = f"apps: {{x: {{{APP}}}}}\nzones: {{a.example: {{}}}}\naccess_rules: {{{rules}}}"
    assert load_text(text, "f").access_rules["r"].zone == "a.example"


def test_an_app_that_asks_no_longer_leaves_a_rule_to_nobody():
    rules = "all: {target: ip, value: 192.0.2.1, action: block}, one: {target: ip, list: bad, action: block, apps: [x]}"
    text = f"apps: {{x: {{{APP}, ip_firewall: true}}}}\naccess_rules: {{{rules}}}\nlists: {{bad: {{kind: ip}}}}"
    config = load_text(text, "f")
    fitting = Fitting(config, [])
    silent = config.apps["x"].model_copy(update={"ip_firewall": False})
    found = fitting.faults(config.model_copy(update={"apps": {"x": silent}}), {"apps": ["x"]})
    assert {fault.path for fault in found} == {("access_rules", "all"), ("access_rules", "one", "apps", 0)}
    found = fitting.faults(config.model_copy(update={"lists": {}}), {"lists": ["bad"]})
    assert [fault.path for fault in found] == [("access_rules", "one", "list")]
