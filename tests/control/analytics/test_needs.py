from spectrum.control.analytics import needs
from spectrum.control.analytics.needs import analytics_faults, analytics_folders
from spectrum.core.configuration.config import Config

ON = Config.model_validate({"analytics": {"store": "/var/x"}})
SERVER = Config.model_validate({"analytics": {"clickhouse": {"url": "http://h"}}})


def test_its_library_is_told_of_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    (fault,) = analytics_faults(ON)
    assert fault.path == ("analytics",)
    assert "pip install 'spectrum-edge[analytics]'" in fault.message
    assert analytics_faults(SERVER) == [fault]
    assert analytics_faults(Config()) == []
    monkeypatch.setattr(needs, "find_spec", lambda name: object())
    assert analytics_faults(ON) == []


def test_its_folder():
    assert [str(path) for path in analytics_folders(ON)] == ["/var/x"]
    assert analytics_folders(Config()) == []
