import sys
import time

import pytest

from spectrum.core.analytics.report import DAY_S
from spectrum.store.objects import file_id
from tests.api.analytics.kept import KeptRows, NoStore
from tests.api.routes.calls import done, refused
from tests.api.serving import Api
from tests.core.analytics.rows import BEGIN, events, tables

FILE = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {"account": "acme"}, "other.test": {"account": "other"}},
    "apps": {
        "a": {"protocol": "tcp/1", "zone": "example.com"},
        "b": {"protocol": "tcp/2", "zone": "example.com"},
        "c": {"protocol": "tcp/3", "zone": "other.test"},
    },
    "pools": {
        "db": {"account": "acme", "origins": [{"name": "pg-1"}, {"name": "pg-2"}, {"name": "x", "enabled": False}]}
    },
}
REPORT = f"/accounts/{file_id('accounts', 'acme')}/report"
RANGE = f"since={BEGIN}.0&until={BEGIN + 2 * DAY_S}"


@pytest.fixture(scope="module")
def connection():
    with tables(events()) as opened:
        for number, (at, is_up) in enumerate(((3600, False), (7200, True), (40_000, False))):
            opened.execute(
                "INSERT INTO health (source, sequence, time, event, healthy, reason, pool, origin)"
                " VALUES ('n', ?, make_timestamp(?), 'originHealth', ?, 'connect_timeout', 'db', 'db/pg-2')",
                [number, (BEGIN + at) * 1_000_000, is_up],
            )
        yield opened


@pytest.fixture
async def api(tmp_path, connection):
    async with Api(tmp_path, FILE) as running:
        running.asking.service = KeptRows(connection)
        yield running


async def test_a_report_names_the_outage_and_sums_the_accounts_apps(api):
    async with api.client(await api.token("analytics:read", accounts=["acme"])) as client:
        made = await done(client, "GET", f"{REPORT}?{RANGE}")
    assert made["headline"].endswith("one origin lost, no pool unavailable")
    assert "Origin pg-2 of db has been down since " in made["paragraph"]
    ours = [one for one in events() if one["app"] in "ab"]
    refusals = sum(one["weight"] for one in ours if one["outcome"] == "refused")
    assert made["headline"].startswith(f"{refusals:,} sessions kept out")
    sections = {one["title"]: one for one in made["sections"]}
    assert [row[0] for row in sections["Busiest apps"]["rows"]] in (["a", "b"], ["b", "a"])
    down = [row[2] for row in sections["Outages of origins"]["rows"]]
    assert down == ["ongoing", "Wednesday 02:00"]
    assert sections["Availability"]["rows"][0][0] == "db"
    assert sections["Availability"]["rows"][0][2].endswith(" of 2")
    days = sections["Traffic per day"]["days"]
    assert sum(one["carried"] for one in days) == sum(one["client_bytes"] + one["origin_bytes"] for one in ours)
    assert made["to_do"][0] == "Repair pg-2, or remove it from pool db: one origin is left."
    assert [one["label"] for one in made["figures"]] == ["Carried", "Sessions", "Failed sessions", "Refused"]


async def test_the_last_seven_days(api):
    async with api.client() as client:
        made = await done(client, "GET", REPORT)
    assert made["until"] == time.time() // DAY_S * DAY_S
    assert made["until"] - made["since"] == 7 * DAY_S
    assert made["headline"] == "One origin lost, no pool unavailable" or made["headline"] == "Nothing was carried"


async def test_as_a_pdf(api, monkeypatch):
    async with api.client() as client:
        answer = await client.get(f"{REPORT}?{RANGE}&format=pdf")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
        assert answer.content.startswith(b"%PDF")
        monkeypatch.setitem(sys.modules, "spectrum.analytics.paper", None)
        assert (await refused(client, "GET", f"{REPORT}?{RANGE}&format=pdf"))[0] == 501


async def test_kept_reports(api, tmp_path):
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "2026-11-23.pdf").write_bytes(b"%PDF")
    api.weekly.configure({"folder": str(tmp_path), "reports": {"day": "monday"}})
    kept = REPORT + "s"
    async with api.client() as client:
        assert await done(client, "GET", kept) == [{"until": "2026-11-23"}]
        assert (await client.get(f"{kept}/2026-11-23")).content == b"%PDF"
        for name in ("2026-11-16", "x"):
            assert (await refused(client, "GET", f"{kept}/{name}"))[0] == 404
    async with api.client(await api.token("analytics:read", accounts=["acme"])) as client:
        assert await done(client, "GET", kept) == []
        assert (await refused(client, "GET", f"{kept}/2026-11-23"))[:2] == (404, 7003)


async def test_invalid_times(api):
    async with api.client() as client:
        for query in ("since=x", "until=x", f"since={BEGIN}.0&until={BEGIN}.0", "since=1.0&until=100000000.0"):
            assert (await refused(client, "GET", f"{REPORT}?{query}"))[:2] == (400, 1002)


async def test_without_a_store(api):
    api.asking.service = NoStore()
    async with api.client() as client:
        status, _, message, _ = await refused(client, "GET", REPORT)
    assert (status, "analytics: true" in message) == (404, True)
