import pytest
from pydantic import ValidationError

from spectrum.core.api import Api, UnixAddress, parse_api_address
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.feature import CheckContext
from spectrum.core.features import SECTIONS, check
from tests.core.configuration.checking import app


def listen(value):
    return [str(where) for where in Api.model_validate({"listen": value}).listen]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("127.0.0.1:8787", ["127.0.0.1:8787"]),
        (["127.0.0.1:1", "unix:/run/x"], ["127.0.0.1:1", "unix:/run/x"]),
        ("[::1]:80", ["[::1]:80"]),
    ],
)
def test_where_it_listens(given, found):
    assert listen(given) == found
    assert [str(parse_api_address(where)) for where in found] == found


@pytest.mark.parametrize("given", [True, {}])
def test_it_is_on(given):
    api = Config.model_validate({"api": given}).api
    assert [str(where) for where in api.listen] == ["127.0.0.1:8787"]


def test_it_is_off():
    assert Config.model_validate({}).api is None
    assert Config.model_validate({"api": False}).api is None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "an empty list would make the API unreachable"),
        ("localhost:80", "is not an address and port; write 127.0.0.1:9090 or .*, or unix:/run"),
        ("unix:x", "expected unix: and an absolute path"),
        (f"unix:/{'x' * 107}", "of at most 107 bytes"),
        (80, "expected text such as 127.0.0.1:8787, found 80"),
    ],
)
def test_invalid_listening_addresses(given, why):
    with pytest.raises(ValidationError, match=why):
        Api.model_validate({"listen": given})


def faults(api, **more):
    config = Config.model_validate({"api": api, **{key: one for key, one in more.items() if key != "apps"}})
    config = config.with_objects({"apps": more.get("apps", {})})
    names = {section.key: list(getattr(config, section.key)) for section in SECTIONS}
    return [(fault.path[-1], fault.message) for fault in check(config, names) if fault.path[0] == "api"]


CERTIFICATE = {"one": {"certificate": "/c", "key": "/k"}}


@pytest.mark.parametrize(
    ("api", "more", "why"),
    [
        ({"listen": "0.0.0.0:80"}, {}, "is reachable from other machines and needs api.certificate"),
        ({"listen": "192.0.2.1:80"}, {}, "without one write 127.0.0.1:80 or unix:"),
        ({"listen": "[::1]:80"}, {}, ""),
        ({"listen": "0.0.0.0:80", "certificate": "one"}, {"certificates": CERTIFICATE}, ""),
        ({"certificate": "on"}, {"certificates": CERTIFICATE}, 'there is no certificate "on"; did you mean "one"?'),
        ({"certificate": "eno"}, {}, 'there is no certificate "eno"; write certificates: {NAME: ...}'),
        ({"listen": ["unix:/a", "unix:/a"]}, {}, "unix:/a is listed twice"),
        (
            {"listen": ["127.0.0.1:9", "0.0.0.0:9"], "certificate": "one"},
            {"certificates": CERTIFICATE},
            "0.0.0.0:9 and 127.0.0.1:9 overlap",
        ),
        ({"listen": ["0.0.0.0:9", "[::1]:9"], "certificate": "one"}, {"certificates": CERTIFICATE}, ""),
        ({"listen": "127.0.0.1:9"}, {"metrics": {"listen": "0.0.0.0:9"}}, "127.0.0.1:9 is taken by metrics"),
        ({"listen": "127.0.0.1:9"}, {"metrics": {"listen": "127.0.0.1:9"}}, "127.0.0.1:9 is taken by metrics"),
        ({"listen": "127.0.0.1:80"}, {"apps": {"x": app("tcp/80", "tcp://192.0.2.1:80")}}, "is taken by app x"),
    ],
)
def test_faults(api, more, why):
    found = faults(api, **more)
    assert len(found) == bool(why)
    assert all(why in message for _, message in found), found


def test_an_address_says_what_it_is():
    assert str(UnixAddress("/x")) == "unix:/x"
    assert CheckContext  # what checks are given


def test_traces_go_to_a_url():
    api = Config.model_validate({"api": {"traces": {"endpoint": "https://otel.example:4318/v1/traces"}}}).api
    assert (api.traces.sample, api.traces.headers) == (0.01, {})
    for endpoint in ("otel.example:4318", "grpc://otel.example", 5):
        with pytest.raises(ValidationError, match=r"not a URL of a collector|expected text"):
            Config.model_validate({"api": {"traces": {"endpoint": endpoint}}})
