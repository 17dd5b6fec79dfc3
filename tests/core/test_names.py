import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.names import Service, parse_service, service_domain


@given(
    st.builds(Service, st.integers(0, 65535), st.integers(0, 65535), st.integers(1, 65535), st.ip_addresses().map(str))
)
def test_services_travel_as_text(service):
    assert parse_service(str(service)) == service


def test_a_service_as_text():
    assert str(Service(10, 30 / 2, 5060, "192.0.2.1")) == "10 15 5060 192.0.2.1"


@pytest.mark.parametrize(
    ("name", "domain"),
    [("_imap._tcp.example.org", "example.org"), ("example.org.", "example.org."), ("_x._y", "_x._y")],
)
def test_the_domain_of_a_service(name, domain):
    assert service_domain(name) == domain
