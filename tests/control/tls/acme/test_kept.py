import pytest

from spectrum.control.tls.acme.folder import AcmeFolder
from spectrum.control.tls.acme.kept import certificate_in, kept_certificate
from spectrum.core.tls.acme import Acme
from spectrum.core.tls.settings import chosen
from tests.certificates import Authority

AUTHORITY = Authority()
ACME = Acme.model_validate({"names": ["a.example", "b.example"], "accept_terms": True})


def test_what_is_kept_is_served(tmp_path):
    one = AUTHORITY.issue("a.example", "b.example")
    AcmeFolder(tmp_path).certificate("auto").write_bytes(one.chain + AUTHORITY.pem + one.key)
    kept = kept_certificate("auto", ACME, tmp_path)
    assert kept.chain == one.chain + AUTHORITY.pem
    assert (kept.key, kept.names, kept.temporary) == (one.key, ("a.example", "b.example"), False)


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\nhalf", AUTHORITY.issue("a.example").chain])
def test_until_then_and_if_it_is_damaged_a_temporary_one_is(tmp_path, damage):
    if damage:
        AcmeFolder(tmp_path).certificate("auto").write_bytes(damage)
    kept = kept_certificate("auto", ACME, tmp_path)
    assert kept.temporary and kept.names == ("a.example", "b.example")
    assert kept_certificate("auto", ACME, tmp_path) is kept, "a reload sees no change"


def test_a_temporary_one_hides_no_other(tmp_path):
    temporary = kept_certificate("auto", ACME, tmp_path)
    one = AUTHORITY.issue("a.example")
    real = certificate_in("real", one.chain + one.key)
    assert chosen([temporary, real], None) == (real, temporary)
    assert chosen([temporary, real], ("auto", "real")) == (real, temporary)


def test_another_ones_key_is_refused():
    with pytest.raises(ValueError, match="does not match the certificate"):
        certificate_in("x", AUTHORITY.issue("a.example").chain + AUTHORITY.issue("a.example").key)
