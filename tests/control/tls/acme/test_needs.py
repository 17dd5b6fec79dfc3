from pathlib import Path

import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.control.tls.acme import needs
from spectrum.core.configuration.config import Config
from tests.certificates import Authority

TEXT = """\
certificates:
  auto:
    acme:
      names: [a.example]
      accept_terms: true
      challenge: dns-01
      ca: {folder}/ca.pem
      external_account: {{key_id: k, hmac_key: {folder}/hmac}}
      dns: {{server: 192.0.2.53, key: {folder}/tsig}}
apps: {{x: {{protocol: tcp/443, origin_direct: ['tcp://192.0.2.1:80'], tls: flexible}}}}
"""


def faults(tmp_path):
    try:
        load_text(TEXT.format(folder=tmp_path), "f")
    except ConfigError as exc:
        return str(exc).replace(str(tmp_path), "").splitlines()
    return []


def test_each_file_is_looked_at(tmp_path, monkeypatch):
    assert faults(tmp_path) == [
        "f:7:11: certificates.auto.acme.ca: /ca.pem: cannot be read: no such file or directory",
        "f:8:47: certificates.auto.acme.external_account.hmac_key: /hmac: cannot be read: no such file or directory",
        "f:9:38: certificates.auto.acme.dns.key: /tsig: cannot be read: no such file or directory",
    ]
    (tmp_path / "ca.pem").write_text("nothing")
    (tmp_path / "hmac").write_text("c2VjcmV0")
    (tmp_path / "tsig").write_text('key "k" { algorithm hmac-sha256; }')
    assert faults(tmp_path) == [
        "f:7:11: certificates.auto.acme.ca: /ca.pem: not a certificate in PEM form",
        "f:9:38: certificates.auto.acme.dns.key: /tsig: no TSIG key; write what `tsig-keygen NAME` prints",
    ]
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    (tmp_path / "tsig").write_text('key "k" { algorithm hmac-sha256; secret "c2VjcmV0"; };')
    assert faults(tmp_path) == []
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    [fault] = faults(tmp_path)
    assert "pip install 'spectrum-edge[acme]'" in fault


def test_the_folder_is_there_for_the_user_that_the_daemon_becomes(tmp_path):
    apps = "apps: {x: {protocol: tcp/443, origin_direct: ['tcp://192.0.2.1:80'], tls: %s}}\n"
    text = "certificates: {a: {acme: {names: [a.example], accept_terms: true}}}\n" + apps % "flexible"
    assert needs.acme_folders(load_text(text, "f")) == [Path("/var/lib/spectrum/acme")]
    assert needs.acme_folders(load_text(apps % "off", "f")) == []


def test_a_folder_that_others_can_write_to(tmp_path):
    acme = {"names": ["a.example"], "accept_terms": True}
    given = {"acme": {"folder": str(tmp_path / "new")}, "certificates": {"a": {"acme": acme}}}
    assert list(needs.acme_refusals(Config.model_validate(given))) == []
    (tmp_path / "new").mkdir()
    (tmp_path / "new").chmod(0o777)
    (fault,) = needs.acme_refusals(Config.model_validate(given))
    assert fault.path == ("acme", "folder") and "can be written by other users" in fault.message
    assert list(needs.acme_refusals(Config.model_validate(given | {"user": "nobody"}))) == [], "as root it is not known"


def test_files_of_authorities_are_looked_at(tmp_path):
    acme = "acme: {authorities: {ours: {accept_terms: true, ca: /nowhere}}}\n"
    apps = "apps: {x: {protocol: tcp/443, origin_direct: ['tcp://192.0.2.1:80']}}\n"
    with pytest.raises(ConfigError, match=r"acme.authorities.ours.ca: /nowhere: cannot be read"):
        load_text(acme + apps, "f")
    given = load_text(acme.replace(", ca: /nowhere", "") + apps, "f")
    assert needs.acme_folders(given) == [Path("/var/lib/spectrum/acme")], "the API may order some"
