import asyncio
import subprocess
import sys

import pytest

from spectrum.analytics.store import AnalyticsError
from spectrum.api.analytics import intake
from spectrum.api.analytics.stores import make_store
from spectrum.tasks import Tasks
from tests.api.analytics.memory import Daemon
from tests.control.keepers import until

SETTINGS = {"max_bytes": 1 << 30, "events_s": 86400.0, "minutes_s": 86400.0, "memory": 64 << 20, "threads": 1}

LINE = (
    b'{"Event":"disconnect","Status":200,"Reason":"client_closed","Application":"x","Timestamp":"2026-01-02T03:04:05Z",'
    b'"DisconnectTimestamp":"2026-01-02T03:04:05Z","ClientBytes":5,"OriginBytes":7,"ProxyProtocol":"off"}\n'
)
HOLD = """
import pathlib, sys
from spectrum.analytics.embedded import EmbeddedStore
store = EmbeddedStore(pathlib.Path(sys.argv[1]))
store.open()
print("open", flush=True)
sys.stdin.read()
"""


def test_the_embedded_one(tmp_path):
    store = make_store({"folder": str(tmp_path / "store"), **SETTINGS})
    store.open()
    assert store.progress().cursor is None
    store.close()


def test_a_server_of_clickhouse(tmp_path):
    server = {"url": "http://127.0.0.1:1", "database": "spectrum", "user": "default", "password": ""}
    store = make_store({"folder": str(tmp_path / "store"), "clickhouse": server, **SETTINGS})
    with pytest.raises(AnalyticsError, match="refused"):
        store.open()


def test_one_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spectrum.analytics.embedded", None)
    with pytest.raises(AnalyticsError, match=r"pip install 'spectrum-edge\[analytics\]'"):
        make_store({"folder": str(tmp_path), **SETTINGS})


async def test_a_store_that_another_process_has_and_one_that_is_damaged(tmp_path, monkeypatch):
    """The intake says so, goes on, and loses nothing that the journal still has."""
    monkeypatch.setattr(intake, "GATHER_S", 0.01)
    monkeypatch.setattr(intake, "FIRST_PAUSE_S", 0.05)
    settings, daemon = SETTINGS | {"folder": str(tmp_path / "store")}, Daemon(tmp_path / "journal")
    daemon.add(3, line=LINE)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, settings["folder"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"open\n"
    taking = intake.JournalIntake(lambda: make_store(settings), daemon.answer)
    running = Tasks().start(taking.run(), "intake")
    try:
        await until(lambda: taking._failures["locked"])
        assert taking.store is None and "lock" in taking.why
        holder.communicate()
        await until(lambda: taking._rows == 3 and not taking.why)
        files = list((tmp_path / "store").glob("*.duckdb*"))
        await taking._close()
        for path in files:
            path.write_bytes(b"no database")
        running.cancel()
        await asyncio.wait((running,))
        taking = intake.JournalIntake(lambda: make_store(settings), daemon.answer)
        running = Tasks().start(taking.run(), "intake")
        daemon.add(2, line=LINE)
        await until(lambda: taking._rows == 5)
        assert not taking.why
    finally:
        running.cancel()
        await asyncio.wait((running,))
        daemon.segments.close()
        holder.kill()
        holder.wait()
