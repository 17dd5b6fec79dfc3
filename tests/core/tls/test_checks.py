import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.core.configuration.config import Config
from spectrum.core.tls.checks import TLS
from tests.certificates import Authority

ISSUED = Authority().issue("a.example")


@pytest.fixture
def faults(tmp_path):
    chain, key = ISSUED.write(tmp_path, "a")
    certificates = f"certificates: {{a: {{certificate: {chain}, key: {key}}}}}"

    def load(app, certificates=certificates):
        text = f"apps: {{x: {{protocol: tcp/7000, origin_direct: ['tcp://192.0.2.9:22'], {app}}}}}\n{certificates}"
        try:
            load_text(text, "f")
        except ConfigError as exc:
            return [str(diagnostic).split(": ", 1)[1] for diagnostic in exc.diagnostics]
        return []

    return load


@pytest.mark.parametrize(
    "app",
    [
        "tls: off",
        "tls: flexible",
        "tls: full, origin_tls: {server_name: db}",
        "tls: strict, edge_tls: {certificates: [a]}, origin_tls: {certificate: a}",
    ],
)
def test_valid_configurations(faults, app):
    assert faults(app) == []


@pytest.mark.parametrize(
    ("app", "message"),
    [
        (
            "edge_tls: {alpn: [h2]}",
            "apps.x.edge_tls: it is for tls: flexible, full or strict; this app passes TLS through",
        ),
        (
            "tls: off, origin_tls: {}",
            "apps.x.origin_tls: it is for tls: flexible, full or strict; this app passes TLS through",
        ),
        (
            "tls: flexible, origin_tls: {}",
            "apps.x.origin_tls: tls: flexible uses plain text towards origins; write full or strict",
        ),
        ("tls: full, origin_tls: {ca: /x}", "apps.x.origin_tls.ca: tls: full verifies nothing; write strict"),
        (
            "tls: flexible, edge_tls: {certificates: [a, aa]}",
            'apps.x.edge_tls.certificates[1]: there is no certificate "aa"; did you mean "a"?',
        ),
        (
            "tls: strict, origin_tls: {certificate: aa}",
            'apps.x.origin_tls.certificate: there is no certificate "aa"; did you mean "a"?',
        ),
    ],
)
def test_faults(faults, app, message):
    assert faults(app) == [message]


def test_tls_needs_a_certificate(faults):
    says = "apps.x.tls: it needs a certificate; write certificates: {NAME: {certificate:, key:}}"
    assert faults("tls: strict, edge_tls: {certificates: [a]}", "") == [says]


def test_udp_has_no_tls():
    with pytest.raises(ConfigError, match="it is for TCP"):
        load_text("apps: {x: {protocol: udp/7000, origin_direct: ['udp://192.0.2.9:22'], tls: full}}", "f")


ACME = "acme: {{names: [q.example], accept_terms: true, challenge: {}}}"


@pytest.mark.parametrize(
    ("app", "challenge", "more", "message"),
    [
        ("tls: flexible", "tls-alpn-01", "", None),
        (
            "tls: off",
            "tls-alpn-01",
            "",
            "tls-alpn-01 is answered by apps that end TLS, and none does; write tls: for one",
        ),
        ("tls: off", "http-01", "", None),
        (
            "tls: off",
            "http-01",
            'acme: {http: "127.0.0.1:7000"}',
            "http-01 is answered at acme.http, 127.0.0.1:7000, where app x listens",
        ),
        (
            "edge_ips: [192.0.2.1]",
            "http-01",
            'acme: {http: "[::]:7000"}',
            "http-01 is answered at acme.http, [::]:7000, where app x listens",
        ),
        ("edge_ips: [192.0.2.1]", "http-01", 'acme: {http: "127.0.0.1:7000"}', None),
    ],
)
def test_challenges_are_answered_somewhere(faults, app, challenge, more, message):
    pytest.importorskip("acme")
    found = faults(app, f"certificates: {{a: {{{ACME.format(challenge)}}}}}\n{more}")
    assert found == ([f"certificates.a.acme.challenge: {message}"] if message else [])


@pytest.mark.parametrize(
    ("certificate", "message"),
    [
        ("{certificate: /x}", "it needs key: a file in PEM form; or acme: {names: [...]} to order one"),
        ("{}", "it needs certificate: a file in PEM form; or acme: {names: [...]} to order one"),
        (
            "{key: /x, acme: {names: [q.example], accept_terms: true}}",
            "key is a file, acme orders one from the CA: write one of them",
        ),
    ],
)
def test_a_certificate_has_files_or_is_ordered(faults, certificate, message):
    assert faults("tls: flexible", f"certificates: {{a: {certificate}}}") == [f"certificates.a: {message}"]


APP = {"protocol": "tcp/443", "origin_direct": ["tcp://192.0.2.9:22"]}
BY_ACME = {"names": ["a.example"], "challenge": "tls-alpn-01", "accept_terms": True}


def config(apps, certificates):
    return Config.model_validate({"apps": apps, "certificates": certificates})


@pytest.mark.parametrize(
    ("before", "after", "challenge", "drawn"),
    [
        ({"x": APP | {"tls": "flexible"}}, {"x": APP}, "tls-alpn-01", [("certificates", "c")]),
        ({"x": APP}, {"x": APP}, "tls-alpn-01", []),
        ({}, {"x": APP | {"protocol": "tcp/80"}}, "http-01", [("certificates", "c")]),
        ({}, {"x": APP}, "http-01", []),
    ],
)
def test_certificates_that_a_changed_app_may_answer_no_longer(before, after, challenge, drawn):
    certificates = {"c": {"acme": BY_ACME | {"challenge": challenge}}}
    pair = config(before, certificates), config(after, certificates)
    assert list(TLS.draws_in(*pair, {"apps": ["x"]})) == drawn


def test_apps_that_are_left_without_any_certificate():
    apps = {"x": APP | {"tls": "flexible"}, "y": APP | {"protocol": "tcp/22"}}
    pair = config(apps, {"c": {"acme": BY_ACME}}), config(apps, {})
    assert list(TLS.draws_in(*pair, {"certificates": ["c"]})) == [("apps", "x")]


@pytest.mark.parametrize(
    ("acme", "place", "message"),
    [
        ("authority: ours", None, ""),
        ("authority: ours, challenge: tls-alpn-01", None, ""),
        ("authority: our", "authority", 'acme.authorities has no "our"; did you mean "ours"?'),
        (
            "authority: ours, challenge: dns-01",
            "challenge",
            "dns-01 needs acme.authorities.ours.dns, which is not there",
        ),
        ("authority: dns, challenge: dns-01", None, ""),
    ],
)
def test_an_authority_is_one_of_the_file(faults, acme, place, message):
    pytest.importorskip("acme")
    ours = "{directory: 'https://ca.example/d', accept_terms: true%s}"
    more = f"acme: {{authorities: {{ours: {ours % ''}, dns: {ours % ', dns: {server: 192.0.2.53}'}}}}}"
    found = faults("tls: flexible", f"certificates: {{a: {{acme: {{names: [q.example], {acme}}}}}}}\n{more}")
    assert found == ([f"certificates.a.acme.{place}: {message}"] if place else [])


def test_a_wildcard_needs_dns_of_its_authority_too(faults):
    pytest.importorskip("acme")
    more = "acme: {authorities: {ours: {accept_terms: true}}}"
    certificates = "certificates: {a: {acme: {names: ['*.q.example'], authority: ours}}}"
    found = faults("tls: flexible", f"{certificates}\n{more}")
    assert found == [
        "certificates.a.acme.names[0]: *.q.example needs challenge: dns-01, not http-01 (RFC 8555 section 7.1.3)"
    ]


@pytest.mark.parametrize("challenge", ["", ", challenge: http-01", ", challenge: tls-alpn-01"])
def test_a_wildcard_needs_dns(faults, challenge):
    pytest.importorskip("acme")
    acme = f"{{names: [q.example, '*.q.example'], accept_terms: true{challenge}}}"
    found = faults("tls: flexible", f"certificates: {{a: {{acme: {acme}}}}}")
    assert [fault.partition(", not")[0] for fault in found] == [
        "certificates.a.acme.names[1]: *.q.example needs challenge: dns-01"
    ]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("metrics: {listen: '127.0.0.1:80'}", "metrics"),
        ("api: {listen: '[::1]:80', user: nobody}", "api"),
        ("metrics: {listen: '127.0.0.1:81'}", ""),
    ],
)
def test_other_listeners_may_be_where_http_01_is_answered(faults, more, what):
    pytest.importorskip("acme")
    acme = "{names: [q.example], accept_terms: true, challenge: http-01}"
    found = faults("tls: flexible", f"certificates: {{a: {{acme: {acme}}}}}\n{more}")
    says = f"certificates.a.acme.challenge: http-01 is answered at acme.http, [::]:80, where {what} listens"
    assert found == ([says] if what else [])


def test_without_authorities_none_is_known(faults):
    pytest.importorskip("acme")
    found = faults("tls: flexible", "certificates: {a: {acme: {names: [q.example], authority: ours}}}")
    assert found == ['certificates.a.acme.authority: acme.authorities has no "ours"']
