import pytest

from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.loader import load_text
from spectrum.core.dns_records import wanted

ORIGIN = "origin_direct: ['tcp://192.0.2.80:22']"


def config(apps, dns="addresses: [203.0.113.7, '2001:db8::7']"):
    lines = "".join(f"  {name}: {{{app}, {ORIGIN}}}\n" for name, app in apps.items())
    return load_text(f"dns: {{server: 192.0.2.53, zone: example.org, {dns}}}\napps:\n{lines}", "f")


def names(apps, **more):
    return {name: sorted(records) for name, records in wanted(config(apps, **more)).items()}


NAMED = "protocol: tcp/22, dns: {type: CNAME, name: ssh.example.org}"


@pytest.mark.parametrize(
    ("edge", "records"),
    [
        ("", [("A", "203.0.113.7"), ("AAAA", "2001:db8::7")]),
        (", edge_ips: {type: dynamic, connectivity: ipv4}", [("A", "203.0.113.7")]),
        (", edge_ips: {type: dynamic, connectivity: ipv6}", [("AAAA", "2001:db8::7")]),
    ],
)
def test_an_app_that_listens_everywhere_has_the_addresses_of_its_family(edge, records):
    assert names({"ssh": NAMED + edge}) == {"ssh.example.org": records}


def test_an_app_with_addresses_of_its_own():
    app = "protocol: tcp/22, dns: {type: ADDRESS, name: ssh.example.org}, edge_ips: [192.0.2.1, '2001:db8::1']"
    assert names({"ssh": app}) == {"ssh.example.org": [("A", "192.0.2.1"), ("AAAA", "2001:db8::1")]}


def test_an_alias_where_there_is_a_target_unless_another_app_of_the_name_has_addresses():
    target = "target: edge.example.org"
    assert names({"ssh": NAMED}, dns=target) == {"ssh.example.org": [("CNAME", "edge.example.org.")]}
    own = "protocol: tcp/23, dns: {type: ADDRESS, name: ssh.example.org}, edge_ips: [192.0.2.1]"
    assert names({"ssh": NAMED, "own": own}, dns=target) == {"ssh.example.org": [("A", "192.0.2.1")]}


def test_names_elsewhere_and_apps_without_a_name_are_not_published():
    apps = {"a": "protocol: tcp/22", "b": "protocol: tcp/23, dns: {type: CNAME, name: ssh.example.net}"}
    assert names(apps) == {}
    assert wanted(load_text(f"apps: {{ssh: {{{NAMED}, {ORIGIN}}}}}", "f")) == {}


@pytest.mark.parametrize(
    ("dns", "app", "message"),
    [
        ("ttl: 60", NAMED, "nothing to publish: the app listens on every address, and dns has no addresses or target"),
        (
            "addresses: [192.0.2.1]",
            NAMED + ", edge_ips: {type: dynamic, connectivity: ipv6}",
            "dns has no addresses of its family",
        ),
        (
            "target: edge.example.net",
            "protocol: tcp/22, dns: {type: CNAME, name: example.org}",
            "example.org is the zone itself, which cannot be an alias",
        ),
        ("target: ssh.example.org", NAMED, "would be an alias of itself"),
    ],
)
def test_faults(dns, app, message):
    with pytest.raises(ConfigError, match=message):
        config({"ssh": app}, dns)
