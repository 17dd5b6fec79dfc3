import pytest

from spectrum.api.supervisor import ValueRefused
from spectrum.store.audit import AuditFilter
from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, done, refused

SSH = file_id("apps", "ssh.example.com")
OPEN = {"id": "7.1", "app": "ssh.example.com", "client": "192.0.2.7:5000", "worker_pid": 7}
KILL = f"{ACCOUNT}/sessions/kill"


@pytest.fixture
def asked(api, monkeypatch):
    """What the daemon was asked; it has one session, and ends three."""
    questions = []
    answers = {
        "/sessions": {"sessions": [OPEN, OPEN | {"app": "gone"}], "total": 9, "silent": []},
        "/sessions/kill": {"killed": 3, "silent": []},
        "/explain": {"steps": ["it goes to a"]},
    }

    async def ask(method, path, query=None, body=None):
        questions.append((method, path, query))
        if isinstance(answers[path], Exception):
            raise answers[path]
        return answers[path]

    monkeypatch.setattr(api.daemon, "ask", ask)
    return questions, answers


async def test_sessions_of_the_accounts_apps_are_shown(api, asked):
    questions, _ = asked
    async with api.client() as client:
        answer = (await client.get(f"{ACCOUNT}/sessions?client=192.0.2.7&app={SSH}&sort=bytes&limit=5")).json()
    assert questions == [
        (
            "GET",
            "/sessions",
            {"client": "192.0.2.7", "account": "acme", "app": "ssh.example.com", "sort": "bytes", "limit": "5"},
        )
    ]
    assert answer["result"] == [
        {"id": "7.1", "app": "ssh.example.com", "client": "192.0.2.7:5000", "app_id": SSH},
        {"id": "7.1", "app": "gone", "client": "192.0.2.7:5000", "app_id": None},
    ]
    assert answer["result_info"] == {"count": 2, "total_count": 9, "silent": []}


async def test_sessions_are_ended_and_the_audit_log_says_by_whom(api, asked):
    questions, _ = asked
    token = await api.token("diagnostics:edit", accounts=["acme"])
    async with api.client(token) as client:
        assert await done(client, "POST", KILL, {"ids": ["7.1", "u0.2"]}) == {"killed": 3, "silent": []}
        await done(client, "POST", KILL, {"app": "ssh.example.com", "older_than": "5m"})
    by = questions[0][2].pop("by")
    assert by.startswith("token test (")
    assert [query for _, _, query in questions] == [
        {"ids": "7.1,u0.2", "account": "acme"},
        {"older_than": "5m", "account": "acme", "app": "ssh.example.com", "by": by},
    ]
    last, first = api.store.audit(AuditFilter(sections=("sessions",)), 9)
    assert (first.action, first.after, first.author.name) == ("kill", {"ids": ["7.1", "u0.2"], "killed": 3}, "test")
    assert (last.after, last.account) == (
        {"app": "ssh.example.com", "older_than": "5m", "killed": 3},
        file_id("accounts", "acme"),
    )


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (None, ""),
        ({}, ""),
        ({"colour": "red"}, "/colour"),
        ({"ids": "7.1"}, "/ids"),
        ({"ids": []}, "/ids"),
        ({"ids": [7]}, "/ids"),
        ({"client": ["192.0.2.7"]}, "/client"),
        ({"client": ""}, "/client"),
    ],
)
async def test_what_ends_nothing(api, asked, body, pointer):
    async with api.client() as client:
        status, code, _, at = await refused(client, "POST", KILL, body)
    assert (status, code, at, asked[0]) == (400, 1002, pointer, [])


async def test_why_a_client_goes_where_it_goes(api, asked):
    questions, answers = asked
    async with api.client() as client:
        told = await done(client, "GET", f"{ACCOUNT}/explain?app={SSH}&client=192.0.2.7&port=5")
        assert told == {"steps": ["it goes to a"]}
        assert questions == [("GET", "/explain", {"app": "ssh.example.com", "client": "192.0.2.7", "port": "5"})]
        answers["/explain"] = ValueRefused("'x' is no address")
        found = await refused(client, "GET", f"{ACCOUNT}/explain?app={SSH}&client=x")
        assert found == (400, 1002, "'x' is no address", None)


async def test_apps_of_others_are_none(api, asked):
    questions, _ = asked
    async with api.client() as client:
        for name in ("game", file_id("apps", "game"), "nothing"):
            for method, path, body in (
                ("GET", f"{ACCOUNT}/sessions?app={name}", None),
                ("GET", f"{ACCOUNT}/explain?app={name}&client=192.0.2.7", None),
                ("POST", KILL, {"app": name}),
            ):
                status, _, message, _ = await refused(client, method, path, body)
                assert (status, message) == (400, f'app: this account has no app "{name}"')
    assert questions == []


async def test_permissions(api, asked):
    reads = await api.token("diagnostics:read", accounts=["acme"])
    other = await api.token("apps:edit", "analytics:edit", accounts=["acme"])
    async with api.client(reads) as reader, api.client(other) as nobody:
        assert len(await done(reader, "GET", f"{ACCOUNT}/sessions")) == 2
        assert (await refused(reader, "POST", KILL, {"ids": ["7.1"]}))[0] == 403
        assert (await refused(reader, "GET", f"{OTHER_ACCOUNT}/sessions"))[0] == 403
        assert (await refused(nobody, "GET", f"{ACCOUNT}/sessions"))[0] == 403
        assert (await refused(nobody, "GET", f"{ACCOUNT}/explain?app={SSH}&client=192.0.2.7"))[0] == 403
