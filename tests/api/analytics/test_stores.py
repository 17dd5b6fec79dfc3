import sys

import pytest

from spectrum.analytics.store import AnalyticsError
from spectrum.api.analytics.stores import make_store

SETTINGS = {"max_bytes": 1 << 30, "events_s": 86400.0, "minutes_s": 86400.0, "memory": 64 << 20, "threads": 1}


def test_the_embedded_one(tmp_path):
    store = make_store({"folder": str(tmp_path / "store"), **SETTINGS})
    store.open()
    assert store.progress().cursor is None
    store.close()


def test_one_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spectrum.analytics.embedded", None)
    with pytest.raises(AnalyticsError, match=r"pip install 'spectrum-edge\[analytics\]'"):
        make_store({"folder": str(tmp_path), **SETTINGS})
