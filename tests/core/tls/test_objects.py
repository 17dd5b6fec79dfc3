import pytest
from pydantic import ValidationError

from spectrum.core.tls.objects import Certificate, EdgeTls, OriginTls


def test_what_is_left_out():
    edge, origin = EdgeTls(), OriginTls()
    assert edge.versions == origin.versions == ("1.2", "1.3")
    assert (edge.certificates, edge.unknown_names, edge.client_certificate) == (None, "default", "required")
    assert edge.handshake_timeout_s == 10
    assert (origin.server_name, origin.ca, origin.certificate) == (None, None, None)


def test_versions_are_numbers_in_yaml():
    assert EdgeTls.model_validate({"min_version": 1.3}).versions == ("1.3", "1.3")
    assert EdgeTls.model_validate({"max_version": "1.2"}).versions == ("1.2", "1.2")


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        (EdgeTls, {"min_version": 1.1}, 'expected "1.2" or "1.3", found 1.1'),
        (EdgeTls, {"min_version": True}, "found true"),
        (EdgeTls, {"min_version": 1.3, "max_version": 1.2}, "min_version 1.3 is above max_version 1.2"),
        (EdgeTls, {"alpn": ["h2", ""]}, "'' is not an ALPN protocol; write h2 or http/1.1"),
        (EdgeTls, {"alpn": ["ü"]}, "is not an ALPN protocol"),
        (EdgeTls, {"certificates": []}, "an empty list; omit it for all of the file"),
        (EdgeTls, {"client_certificate": "optional"}, "client_certificate needs client_ca"),
        (EdgeTls, {"handshake_timeout": 0}, "longer than 0"),
        (EdgeTls, {"unknown_names": "drop"}, "'default' or 'refuse'"),
        (OriginTls, {"server_name": "a b"}, "'a b' is neither a host name nor an address"),
        (OriginTls, {"server_name": 7}, "expected text, found 7"),
        (Certificate, {"certificate": "x"}, "key"),
        (Certificate, {"certificate": "", "key": "x"}, "at least 1 character"),
    ],
)
def test_faults_are_reported(model, given, says):
    with pytest.raises(ValidationError, match=says.replace("(", r"\(")):
        model.model_validate(given)


def test_an_origin_may_be_named_by_an_address():
    assert OriginTls.model_validate({"server_name": "2001:DB8::1"}).server_name == "2001:db8::1"
    assert OriginTls.model_validate({"server_name": "db.internal"}).server_name == "db.internal"
