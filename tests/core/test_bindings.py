import pytest

from tests.core.configuration.checking import TCP, UDP, app, faults

BOUND = [{"prefix": "192.0.2.0/24"}]


@pytest.mark.parametrize(
    ("one", "path"),
    [
        (app(*TCP, bindings=BOUND), None),
        (app(*TCP, sni=["a.example"], bindings=BOUND), ("bindings",)),
        (app(*UDP, bindings=BOUND, accept_proxy_protocol={"from": ["::/0"]}), ("accept_proxy_protocol",)),
    ],
)
def test_faults_of_an_app(one, path):
    assert [fault.path for fault in faults({"a": one})] == ([("apps", "a", *path)] if path else [])


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ([{"prefix": "192.0.2.0/24"}], [{"prefix": "192.0.2.0/24"}], True),
        ([{"prefix": "192.0.2.0/24", "port": 0}], [{"prefix": "192.0.2.0/24"}], False),
        ([{"prefix": "192.0.2.0/24", "port": 0}], [{"prefix": "192.0.2.0/25", "port": 0}], False),
        ([{"prefix": "192.0.2.0/24", "port": 7}], [{"prefix": "::/0"}, {"prefix": "192.0.2.0/24", "port": 7}], True),
    ],
)
def test_what_is_bound_is_one_apps(one, other, collide):
    apps = {"a": app(*TCP, bindings=one), "b": app(*TCP, bindings=other)}
    found = [fault.path for fault in faults(apps)]
    assert found == ([("apps", "b", "bindings", len(other) - 1)] if collide else [])
