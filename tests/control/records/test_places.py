from spectrum.control.records.places import journal_of
from spectrum.core.configuration.config import Config


def test_analytics_has_a_journal_where_the_file_names_none(monkeypatch, tmp_path):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/x")
    assert journal_of(Config()) is None
    own = journal_of(Config.model_validate({"analytics": True}))
    assert own.path == f"{tmp_path}/%2Frun%2Fx%2Fcontrol.sock.journal"
    assert own.max_bytes == 256 * 2**20
    named = {"records": {"journal": {"path": "/j"}}}
    assert journal_of(Config.model_validate(named | {"analytics": True})).path == "/j"
    assert journal_of(Config.model_validate(named)).path == "/j"
