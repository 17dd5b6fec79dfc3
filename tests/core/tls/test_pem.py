from spectrum.core.tls.pem import belongs, issuer_of, names_of
from tests.certificates import Authority


def test_names_and_keys():
    authority = Authority()
    one, other = authority.issue("a.example", "*.a.example", "192.0.2.1"), authority.issue(common_name="b.example")
    assert names_of(one.certificate) == ("a.example", "*.a.example")
    assert names_of(other.certificate) == ("b.example",)
    assert issuer_of(one.certificate) == "CN=test authority"
    assert belongs(one.private, one.certificate)
    assert not belongs(other.private, one.certificate)
