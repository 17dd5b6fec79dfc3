import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from msgspec import structs

from spectrum.control.configuration.actor import Change, Plan
from spectrum.control.configuration.served import Served
from spectrum.control.paths import sealing_key
from spectrum.control.tls.certificates import (
    CertificateError,
    CertificatesActor,
    load_tls,
    names_of,
    soon_to_end,
    tls_faults,
    tls_paths,
)
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.features import compile_snapshot
from spectrum.core.tls.pem import public_key_of
from spectrum.core.tls.settings import TlsFiles
from spectrum.store.sealing import have_sealing_key, seal
from tests.certificates import Authority, key_pem

AUTHORITY = Authority()
ONE = AUTHORITY.issue("a.example", "*.a.example", "192.0.2.1")
RSA = AUTHORITY.issue(common_name="old.example", kind="rsa")


def config(certificates, **apps):
    app = {"protocol": "tcp/443", "origin_direct": ["tcp://192.0.2.9:80"]}
    return Config.model_validate(
        {"certificates": certificates, "apps": {name: app | body for name, body in apps.items()}}
    )


@pytest.fixture
def files(tmp_path):
    chain, key = ONE.write(tmp_path, "a")
    staple = tmp_path / "a.ocsp"
    staple.write_bytes(ONE.staple())
    ca = tmp_path / "ca.pem"
    ca.write_bytes(AUTHORITY.pem)
    return {"certificate": str(chain), "key": str(key), "ocsp": str(staple)}, str(ca)


def test_files_become_what_workers_run_on(files, tmp_path):
    named, ca = files
    chain, key = RSA.write(tmp_path, "rsa")
    given = config(
        {"a": named, "rsa": {"certificate": str(chain), "key": str(key)}},
        x={"tls": "flexible", "edge_tls": {"client_ca": ca}},
        y={"tls": "strict", "origin_tls": {"ca": ca}},
        z={"edge_tls": {"client_ca": "/nowhere"}},  # a fault of another kind: the file is not asked for
    )
    assert tls_faults(given) == []
    loaded = load_tls(given)
    one, rsa = loaded.certificates
    assert (one.name, one.names, one.chain, one.key) == ("a", ("a.example", "*.a.example"), ONE.chain, ONE.key)
    assert one.staple == (tmp_path / "a.ocsp").read_bytes()
    assert rsa.names == ("old.example",)
    assert one.kind != rsa.kind
    assert one.ends_at == ONE.certificate.not_valid_after_utc.timestamp()
    assert loaded.authorities == {ca: AUTHORITY.pem}
    assert {str(path) for path in tls_paths(given)} == {*named.values(), ca, str(chain), str(key)}


@pytest.mark.parametrize(
    ("key", "content", "says"),
    [
        ("certificate", None, "cannot be read: no such file or directory"),
        ("certificate", b"nothing", "not a certificate in PEM form"),
        ("key", None, "cannot be read: no such file or directory"),
        ("key", b"nothing", "not a private key in PEM form"),
        ("key", key_pem(ONE.private, b"secret"), "the key has a passphrase; store it without one"),
        ("key", RSA.key, "this key does not match the certificate"),
        ("ocsp", b"nothing", "no OCSP response in DER form"),
        ("ocsp", RSA.staple(), "the OCSP response is for another certificate"),
        (
            "ocsp",
            ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER),
            "the OCSP response is try_later",
        ),
    ],
)
def test_faults_have_their_places(files, tmp_path, key, content, says):
    named, _ = files
    path = tmp_path / "wrong"
    if content is not None:
        path.write_bytes(content)
    given = config({"a": named | {key: str(path)}})
    faults = tls_faults(given)
    if key == "certificate" and content == b"nothing":
        assert faults[0].message == f"{path}: {says}"
    else:
        assert [(fault.path, fault.message) for fault in faults] == [(("certificates", "a", key), f"{path}: {says}")]
    with pytest.raises(CertificateError, match=f"certificates.a.{key}: "):
        load_tls(given)


@pytest.fixture
def sealing(tmp_path, monkeypatch):
    """The key of this installation; its file."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    path = sealing_key(Config())
    return have_sealing_key(path), path


def sent(issued, sealing, **more):
    public = sealing.public_key().public_bytes_raw()
    sealed = seal(issued.key, public_key_of(issued.certificate), public)
    return {"chain": issued.chain.decode(), "sealed_key": sealed, **more}


def test_what_the_api_was_sent_is_opened(sealing):
    given = config({"a": sent(ONE, sealing[0], zone="example.com")})
    assert tls_faults(given) == []
    (one,) = load_tls(given).certificates
    assert (one.name, one.names, one.chain, one.key) == ("a", ("a.example", "*.a.example"), ONE.chain, ONE.key)
    assert (tls_paths(given), one.staple) == ([], b"")


def test_what_cannot_be_opened(sealing):
    key, path = sealing
    own, other = sent(ONE, key), sent(RSA, key)
    swapped = config({"a": {**own, "sealed_key": other["sealed_key"]}})
    assert [fault.path for fault in tls_faults(swapped)] == [("certificates", "a", "sealed_key")]
    assert "was not sealed by this installation" in tls_faults(swapped)[0].message
    (fault,) = tls_faults(config({"a": own | {"chain": "nothing"}}))
    assert fault == Fault(("certificates", "a", "chain"), "chain: not a certificate in PEM form")
    path.unlink()
    (fault,) = tls_faults(config({"a": own}))
    assert "is not there; send the key again" in fault.message


def test_authorities_that_cannot_be_read(files, tmp_path):
    named, _ = files
    (tmp_path / "empty").write_text("")
    given = config(
        {"a": named},
        x={"tls": "flexible", "edge_tls": {"client_ca": str(tmp_path / "empty")}},
        y={"tls": "strict", "origin_tls": {"ca": "/nowhere"}},
    )
    assert [(fault.path[1:], fault.message.split(": ")[1]) for fault in tls_faults(given)] == [
        (("x", "edge_tls", "client_ca"), "not a certificate in PEM form"),
        (("y", "origin_tls", "ca"), "cannot be read"),
    ]


def test_a_file_that_several_use_is_reported_once(files, tmp_path):
    named, _ = files
    (tmp_path / "other.pem").write_bytes(b"nothing")
    broken = named | {"key": str(tmp_path / "other.pem")}
    authorities = {"tls": "flexible", "edge_tls": {"client_ca": "/nowhere"}}
    faults = tls_faults(config({"a": broken, "b": broken}, x=authorities, y=authorities))
    assert [fault.path for fault in faults] == [("certificates", "a", "key"), ("apps", "x", "edge_tls", "client_ca")]


def test_expiring_certificates_are_reported(tmp_path):
    named = {}
    for days in (-3, -1, 2, 60):
        chain, key = AUTHORITY.issue("a.example", days=days).write(tmp_path, str(days))
        named[f"d{days}"] = {"certificate": str(chain), "key": str(key)}
    lines = soon_to_end(load_tls(config(named)))
    assert lines == [
        "certificate d-3 expired 3 days ago",
        "certificate d-1 expired 24 hours ago",
        "certificate d2 expires in 48 hours",
    ]


def test_names():
    assert names_of(ONE.certificate) == ("a.example", "*.a.example")
    assert names_of(RSA.certificate) == ("old.example",)


async def test_a_rollout_reports_certificates_that_expire_soon(files, caplog):
    named, _ = files
    given = config({"a": named}, x={"tls": "flexible"})
    (certificate,) = load_tls(given).certificates
    soon = TlsFiles((structs.replace(certificate, ends_at=int(time.time()) + 3600),))
    plan = Plan(given, compile_snapshot(given, 1, tls=soon), {}, b"")
    await CertificatesActor(Served(given)).release(Change(plan, plan))
    assert "certificate a expires in 1 hour" in caplog.text
    served = Served(given)
    for ends_at, severity in ((3600, "degraded"), (-5, "failed"), (90 * 86400, None)):
        ends = structs.replace(certificate, ends_at=int(time.time()) + ends_at)
        served.plan = Plan(given, compile_snapshot(given, 1, tls=TlsFiles((ends,))), {}, b"")
        told = [(one.severity, one.name, one.facts["ends_at"]) for one in CertificatesActor(served).troubles()]
        assert told == ([(severity, "a", ends.ends_at)] if severity else [])


def test_the_highest_priority_comes_first(tmp_path):
    certificates = {}
    for name, more in (("a", {}), ("b", {"priority": 1}), ("c", {}), ("d", {"priority": 2})):
        chain, key = AUTHORITY.issue("a.example").write(tmp_path, name)
        certificates[name] = {"certificate": str(chain), "key": str(key)} | more
    assert [one.name for one in load_tls(config(certificates)).certificates] == ["d", "b", "a", "c"]
