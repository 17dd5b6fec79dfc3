import pytest

from spectrum.core.tls.names import CertificateNames

NAMES = CertificateNames(
    [
        (("a.example", "www.a.example"), "ec", "A"),
        (("*.a.example",), "ec", "wild"),
        (("*.a.example", "a.example"), "rsa", "wild rsa"),
        (("A.Example",), "ec", "later"),
        (("xn--bcher-kva.example",), "ec", "idn"),
    ]
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.example", ("A", "wild rsa")),
        ("A.EXAMPLE.", ("A", "wild rsa")),
        ("www.a.example", ("A",)),
        ("x.a.example", ("wild", "wild rsa")),
        ("x.y.a.example", ()),  # RFC 9525: a wildcard is one label
        ("*.a.example", ("wild", "wild rsa")),
        ("b.example", ()),
        ("example", ()),
        ("", ()),
        ("xn--bcher-kva.example", ("idn",)),
    ],
)
def test_names(name, found):
    assert NAMES.find(name) == found
