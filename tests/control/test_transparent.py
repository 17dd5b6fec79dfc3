import os

import pytest

from spectrum.control import transparent
from spectrum.control.transparent import NOT_ALLOWED, is_not_allowed, only_for_root, refusals
from spectrum.core.configuration.config import Config
from tests.core.configuration.checking import app

PLAIN = app("tcp/80", "tcp://192.0.2.1:80")


def config(**more):
    return Config().with_objects({"apps": {"x": PLAIN, "y": app("tcp/81", "tcp://192.0.2.1:81", **more)}})


@pytest.mark.parametrize(
    "more",
    [
        {"source": "client"},
        {"tproxy": {"port": 5000, "prefixes": ["192.0.2.0/24"]}},
        {"bindings": [{"prefix": "192.0.2.0/24"}]},
    ],
)
def test_who_may_not(monkeypatch, more):
    monkeypatch.setattr(transparent, "may_be_transparent", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = config(**more)
    assert [(fault.path, fault.message) for fault in refusals(found)] == [
        (("apps", "y", next(iter(more))), NOT_ALLOWED)
    ]
    assert only_for_root(found) == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert (refusals(found), only_for_root(found)) == ([], [NOT_ALLOWED])


def test_who_may(monkeypatch):
    monkeypatch.setattr(transparent, "may_be_transparent", lambda: False)
    assert not is_not_allowed(config())
    assert refusals(config()) == only_for_root(config()) == []
    monkeypatch.setattr(transparent, "may_be_transparent", lambda: True)
    assert not is_not_allowed(config(source="client"))
