import pytest
from pydantic import ValidationError

from spectrum.core.tenants.objects import Account, Dns, Zone


def test_a_name_is_compared_in_one_form():
    assert Dns.model_validate({"name": "SSH.Example.com."}).name == "ssh.example.com"
    assert Dns.model_validate({"name": "*.example.com", "type": "ADDRESS"}).type == "ADDRESS"


@pytest.mark.parametrize(
    ("model", "value", "message"),
    [
        (Dns, {"name": "ssh"}, "a name in a zone, such as ssh.example.com"),
        (Dns, {"name": "a b.example.com"}, "is not a DNS name"),
        (Dns, {"name": 5}, "expected text such as ssh.example.com"),
        (Dns, {"name": "a.example.com", "type": "A"}, "CNAME"),
        (Zone, {"name": "example"}, "a name in a zone"),
        (Account, {"type": "free"}, "standard"),
        (Account, {"name": ""}, "at least 1 character"),
    ],
)
def test_faults(model, value, message):
    with pytest.raises(ValidationError, match=message):
        model.model_validate(value)
