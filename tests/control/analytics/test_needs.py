import os

from spectrum.control.analytics import needs
from spectrum.control.analytics.needs import analytics_faults, analytics_folders, analytics_refusals
from spectrum.core.configuration.config import Config

ON = Config.model_validate({"analytics": {"store": "/var/x"}})
SERVER = Config.model_validate({"analytics": {"clickhouse": {"url": "http://h"}}})


def test_a_missing_library_is_reported(monkeypatch):
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    (fault,) = analytics_faults(ON)
    assert fault.path == ("analytics",)
    assert "pip install 'spectrum-edge[analytics]'" in fault.message
    assert analytics_faults(SERVER) == [fault]
    assert analytics_faults(Config()) == []
    monkeypatch.setattr(needs, "find_spec", lambda name: object())
    assert analytics_faults(ON) == []


def test_what_prevents_a_start(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    text = {"api": {"user": "nobody", "store": str(tmp_path / "new")}, "analytics": {"store": str(tmp_path)}}
    (fault,) = analytics_refusals(Config.model_validate(text))
    assert fault.path == ("analytics", "store") and "belongs to another user" in fault.message
    assert analytics_refusals(Config.model_validate(text | {"user": "nobody"})) == []
    assert analytics_refusals(Config.model_validate(text | {"api": {}})) == [], "what is wrong is the user of the API"
    assert analytics_refusals(Config()) == []


def test_its_folder():
    assert [str(path) for path in analytics_folders(ON)] == ["/var/x"]
    assert analytics_folders(Config()) == []
