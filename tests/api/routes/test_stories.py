import pytest

from spectrum.api.supervisor import ValueRefused
from spectrum.core.analytics.event_rows import event_row
from spectrum.store.objects import file_id
from tests.api.analytics.kept import KeptRows
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, done, refused
from tests.api.serving import NOTHING, Api
from tests.core.analytics.rows import events, tables
from tests.core.analytics.test_event_rows import ENDED

STORY = f"{ACCOUNT}/story?subject=192.0.2.7"


@pytest.fixture
def asked(api, monkeypatch):
    """What the daemon was asked, and what it answers."""
    questions, answers = [], [NOTHING["/story"] | {"records": [ENDED, {}], "is_kept": True}]

    async def ask(method, path, query=None, body=None):
        questions.append((method, path, query))
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers[-1]

    monkeypatch.setattr(api.daemon, "ask", ask)
    return questions, answers


async def test_the_story_of_a_client_from_the_journal(api, asked):
    questions, answers = asked
    async with api.client() as client:
        told = await done(client, "GET", f"{STORY}&until=14:05")
        assert told == {
            "subject": "192.0.2.7",
            "source": "journal",
            "is_kept": True,
            "kept_since": None,
            "rows": [event_row(ENDED)],
            "several": [],
            "omitted": 0,
            "refused": 0,
            "reasons": {},
            "notes": [],
            "ids": {"apps": {}, "access_rules": {}},
        }
        assert questions == [
            (
                "GET",
                "/story",
                {"subject": "192.0.2.7", "since": "24h", "until": "14:05", "limit": "1000", "account": "acme"},
            )
        ]
        answers.append(ValueRefused('"x" is no address'))
        assert await refused(client, "GET", STORY) == (400, 1002, '"x" is no address', None)
        answers.append({"busy": "other searches are running"})
        assert (await refused(client, "GET", STORY))[:3] == (429, 10429, "other searches are running: please wait")


async def test_permissions(api, asked):
    reads = await api.token("analytics:read", accounts=["acme"])
    other = await api.token("diagnostics:edit", accounts=["acme"])
    async with api.client(reads) as reader, api.client(other) as nobody:
        await done(reader, "GET", STORY)
        assert (await refused(reader, "GET", f"{OTHER_ACCOUNT}/story?subject=192.0.2.7"))[0] == 403
        assert (await refused(nobody, "GET", STORY))[0] == 403


TENANTS = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {"account": "acme"}, "other.test": {"account": "other"}},
    "apps": {
        "a": {"protocol": "tcp/1", "zone": "example.com"},
        "b": {"protocol": "tcp/2", "zone": "example.com"},
        "c": {"protocol": "tcp/3", "zone": "other.test"},
    },
}
KEPT = f"{ACCOUNT}/story"


@pytest.fixture
async def kept(tmp_path):
    """An API with a store of analytics."""
    with tables(events()) as connection:
        async with Api(tmp_path, TENANTS) as running:
            running.asking.service = KeptRows(connection)
            yield running


async def test_the_store_knows_more(kept):
    mine = [one for one in events() if one["client_ip"] == "192.0.2.77" and one["app"] in "ab"]
    query = "since=2023-11-15T00:00:00&until=2023-11-17T00:00:00"
    async with kept.client(await kept.token("analytics:read", accounts=["acme"])) as client:
        told = await done(client, "GET", f"{KEPT}?subject=192.0.2.77&{query}")
        assert (told["source"], len(told["rows"]), told["omitted"]) == ("analytics", len(mine), 0)
        assert told["ids"]["apps"] == {name: file_id("apps", name) for name in "ab"}
        assert told["first_seen"] == pytest.approx(mine[0]["time"], abs=1e-3)
        assert told["refused"] == sum(one["weight"] for one in mine if one["outcome"] == "refused")
        assert [one["time"] for one in told["rows"]] == sorted(one["time"] for one in told["rows"])
        wide = await done(client, "GET", f"{KEPT}?subject=192.0.2.0/24&{query}&limit=3")
        assert len(wide["rows"]) == 3
        one = await done(client, "GET", f"{KEPT}?subject=7.1&{query}")
        assert {row["session"] for row in one["rows"]} == {"7.1"}
        for subject in ("x", "edge1/0/aa/7"):
            assert (await refused(client, "GET", f"{KEPT}?subject={subject}"))[:2] == (400, 1002)
