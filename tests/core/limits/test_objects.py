import pytest
from pydantic import ValidationError

from spectrum.core.configuration.config import App, Config
from spectrum.core.limits.rules import Limits


@pytest.mark.parametrize(
    "wrong",
    [
        {"limits": {"memory": "1KiB"}},
        {"limits": {"memory": "much"}},
        {"limits": {"memory": True}},
        {"limits": {"client_prefix": {"ipv4": 33}}},
        {"limits": {"bytes_per_second": "10MB"}},  # an app's
        {"limits": {"client": {"datagrams_per_second": 5}}},
    ],
)
def test_wrong_limits(wrong):
    with pytest.raises(ValidationError):
        Config.model_validate(wrong)


def test_limits_of_both_transports():
    limits = Config.model_validate(
        {"limits": {"sessions": 5, "flows": 6, "new_per_second": 7, "client": {"flows": 8}, "memory": "64MiB"}}
    ).limits
    assert limits.for_transport("tcp") == Limits(5, 7, 0, 0)
    assert limits.for_transport("udp") == Limits(6, 7, 8, 0)
    assert (limits.memory, limits.client_prefix.ipv6) == (64 * 2**20, 64)


@pytest.mark.parametrize(
    "wrong", [{"sessions": 0}, {"new_per_second": True}, {"memory": "1MiB"}, {"client": {"session": 1}}]
)
def test_wrong_limits_of_an_app(wrong):
    with pytest.raises(ValidationError):
        App.model_validate({"protocol": "tcp/22", "origin_direct": ["tcp://192.0.2.1:22"], "limits": wrong})
