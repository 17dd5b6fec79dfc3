import pytest

from spectrum.api.supervisor import ValueRefused
from spectrum.core.analytics.event_rows import event_row
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, done, refused
from tests.api.serving import NOTHING
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
        answers.append({"busy": "other searches are under way"})
        assert (await refused(client, "GET", STORY))[:3] == (429, 10429, "other searches are under way: please wait")


async def test_who_may(api, asked):
    reads = await api.token("analytics:read", accounts=["acme"])
    other = await api.token("diagnostics:edit", accounts=["acme"])
    async with api.client(reads) as reader, api.client(other) as nobody:
        await done(reader, "GET", STORY)
        assert (await refused(reader, "GET", f"{OTHER_ACCOUNT}/story?subject=192.0.2.7"))[0] == 403
        assert (await refused(nobody, "GET", STORY))[0] == 403
