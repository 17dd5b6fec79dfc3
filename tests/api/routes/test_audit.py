import pytest

from spectrum.store.objects import file_id

ACME, OTHER = file_id("accounts", "acme"), file_id("accounts", "other")


@pytest.fixture
async def changed(api):
    """Two zones of one account and one of another."""
    client = api.client()
    for name, account in (("a.example", ACME), ("b.example", OTHER), ("c.example", ACME)):
        assert (await client.post("/zones", json={"name": name, "account": {"id": account}})).status_code == 200
    return api


async def test_the_first_version(changed):
    sdk = changed.sdk(await changed.token("audit_logs:read", accounts=["acme"]))
    lines = [line async for line in sdk.audit_logs.list(account_id=ACME)]
    assert [line.metadata["name"] for line in lines] == ["c.example", "a.example"]
    assert lines[0].action.type == "create" and lines[0].actor.email == "operator@localhost"
    lines = [line async for line in sdk.audit_logs.list(account_id=ACME, direction="asc", zone={"name": "a.example"})]
    assert [line.metadata["name"] for line in lines] == ["a.example"]
    assert [line async for line in sdk.audit_logs.list(account_id=ACME, before="2020-01-01")] == []
    assert len([line async for line in sdk.audit_logs.list(account_id=ACME, since="2020-01-01")]) == 2
    assert [line async for line in sdk.audit_logs.list(account_id=ACME, hide_user_logs=True)] == []


async def test_the_second_version_page_by_page(changed):
    sdk = changed.sdk(await changed.token("audit_logs:read", accounts=["acme"]))
    listed = sdk.accounts.logs.audit.list(account_id=ACME, since="2020-01-01", before="2999-01-01", limit=1)
    lines = [line async for line in listed]
    assert [line.resource.scope["name"] for line in lines] == ["c.example", "a.example"]
    assert lines[0].account.name == "acme" and lines[0].zone.name == "c.example"
    assert lines[0].raw.method == "POST" and len(lines[0].raw.cf_rayid) == 16


async def test_another_accounts_lines_are_not_shown(changed):
    client = changed.client(await changed.token("audit_logs:read", accounts=["acme"]))
    assert (await client.get(f"/accounts/{OTHER}/audit_logs")).status_code == 403
    lines = (await client.get("/user/audit_logs")).json()["result"]
    assert [line["metadata"]["name"] for line in lines] == ["c.example", "a.example"]
    everything = (await changed.client().get("/user/audit_logs")).json()
    assert len(everything["result"]) == everything["result_info"]["total_count"] == 3


async def test_as_a_table(changed):
    answer = await changed.client().get("/user/audit_logs?export=true")
    assert answer.headers["content-type"].startswith("text/csv")
    head, *rows = answer.text.splitlines()
    assert head.startswith("when,action,result") and len(rows) == 3
    assert all(",create,True," in row for row in rows)


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "before=99999-01-01",
        "page=1000&per_page=1000",
        "per_page=0",
    ],
)
async def test_what_cannot_be_asked_of_the_first(api, query):
    assert (await api.client().get(f"/accounts/{ACME}/audit_logs?{query}")).status_code == 400


@pytest.mark.parametrize("query", ["", "since=2020-01-01", "since=2020-01-01&before=2999-01-01&cursor=eA"])
async def test_what_cannot_be_asked_of_the_second(api, query):
    assert (await api.client().get(f"/accounts/{ACME}/logs/audit?{query}")).status_code == 400
