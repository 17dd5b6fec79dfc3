import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
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
def test_what_fits(faults, app):
    assert faults(app) == []


@pytest.mark.parametrize(
    ("app", "message"),
    [
        (
            "edge_tls: {alpn: [h2]}",
            "apps.x.edge_tls: it goes with tls: flexible, full or strict; this app passes TLS through",
        ),
        (
            "tls: off, origin_tls: {}",
            "apps.x.origin_tls: it goes with tls: flexible, full or strict; this app passes TLS through",
        ),
        (
            "tls: flexible, origin_tls: {}",
            "apps.x.origin_tls: tls: flexible speaks to origins in clear; write full or strict",
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
def test_what_does_not_fit(faults, app, message):
    assert faults(app) == [message]


def test_tls_needs_a_certificate(faults):
    says = "apps.x.tls: it needs a certificate; write certificates: {NAME: {certificate:, key:}}"
    assert faults("tls: strict, edge_tls: {certificates: [a]}", "") == [says]


def test_udp_has_no_tls():
    with pytest.raises(ConfigError, match="it is for TCP"):
        load_text("apps: {x: {protocol: udp/7000, origin_direct: ['udp://192.0.2.9:22'], tls: full}}", "f")
