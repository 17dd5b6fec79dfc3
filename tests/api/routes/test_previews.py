import pytest

from tests.api.routes.calls import ACCOUNT, GROUPS, MONITORS, OTHER_ACCOUNT, POOL, POOLS, balancing, done, refused

PREVIEW = f"{ACCOUNT}/load_balancers/preview"
TCP = {"type": "tcp", "port": 23}
ORIGIN = {
    "name": "a",
    "address": "192.0.2.1",
    "health": "down",
    "reason": "connection refused",
    "rtt_ms": None,
    "response_code": None,
}


@pytest.fixture
def asked(api, monkeypatch):
    """What the daemon was asked, and what it answers."""
    questions = []
    answers = {
        "/previews": {"id": "f" * 32, "pools": ["eu"]},
        "/preview": {"monitor_type": "tcp", "pools": {"eu": {"healthy": False, "origins": [ORIGIN]}, "gone": {}}},
    }

    async def ask(method, path, query=None, body=None):
        questions.append((method, path, query, body))
        return answers[path]

    monkeypatch.setattr(api.daemon, "ask", ask)
    return questions, answers


async def test_the_daemon_probes_the_pools_of_a_monitor_or_one_pool(api, asked):
    questions, _ = asked
    async with api.client() as client:
        monitor, pool, _ = await balancing(client)
        await done(client, "POST", POOLS, POOL | {"name": "us"})
        for path in (f"{MONITORS}/{monitor}", f"{POOLS}/{pool}"):
            begun = await done(client, "POST", f"{path}/preview", TCP)
            assert begun == {"preview_id": "f" * 32, "pools": {pool: "eu"}}
            body = {"owner": ACCOUNT.rpartition("/")[2], "monitor": TCP, "pools": ["eu"]}
            assert questions.pop() == ("POST", "/previews", None, body)
        group = {"description": "all", "members": [{"monitor_id": monitor}]}
        in_group = {"monitor": None, "monitor_group": (await done(client, "POST", GROUPS, group))["id"]}
        await done(client, "PATCH", f"{POOLS}/{pool}", in_group)
        assert (await done(client, "POST", f"{MONITORS}/{monitor}/preview", TCP))["pools"] == {pool: "eu"}
        found = await done(client, "GET", f"{PREVIEW}/{begun['preview_id']}")
        told = {"healthy": False, "failure_reason": "TCP connection failed", "failure_detail": "connection refused"}
        assert found == {pool: {"healthy": False, "origins": [{"192.0.2.1": told}]}}


async def test_what_cannot_be_previewed(api, asked):
    questions, answers = asked
    async with api.client() as client:
        _, pool, _ = await balancing(client)
        path = f"{POOLS}/{pool}/preview"
        assert (await refused(client, "POST", path, {"type": "ftp"}))[3] == "/type"
        assert (await refused(client, "POST", path, {"colour": "red"}))[3] == "/colour"
        assert (await refused(client, "POST", path))[:2] == (400, 1002)
        assert (await refused(client, "POST", f"{POOLS}/{'0' * 32}/preview", TCP))[:2] == (404, 7003)
        assert (await refused(client, "POST", f"{MONITORS}/{'0' * 32}/preview", TCP))[:2] == (404, 7003)
        assert questions == []
        answers["/previews"] = {"faults": [[["path"], "it goes with http"]]}
        assert await refused(client, "POST", path, TCP) == (400, 1002, "it goes with http", "/path")
        answers["/previews"] = {"busy": "as many as may be"}
        assert (await refused(client, "POST", path, TCP))[:2] == (429, 10429)
        answers["/preview"] = {"pools": None}
        assert (await refused(client, "GET", f"{PREVIEW}/{'e' * 32}"))[:2] == (404, 7003)


async def test_who_may_preview(api, asked):
    async with api.client() as client:
        monitor, pool, _ = await balancing(client)
    calls = ((f"{MONITORS}/{monitor}/preview", "monitors:edit"), (f"{POOLS}/{pool}/preview", "pools:edit"))
    for path, permission in calls:
        reads = await api.token("monitors:read", "pools:read", accounts=["acme"])
        edits = await api.token(permission, "pools:read", accounts=["acme"])
        async with api.client(reads) as reader, api.client(edits) as editor:
            assert (await refused(reader, "POST", path, TCP))[0] == 403
            assert (await done(editor, "POST", path, TCP))["pools"] == {pool: "eu"}
    blind = await api.token("monitors:edit", accounts=["acme"])
    async with api.client(blind) as client:  # it would be told of pools
        assert (await refused(client, "POST", f"{MONITORS}/{monitor}/preview", TCP))[0] == 403
    other = await api.token("all:edit", accounts=["other"])
    async with api.client(other) as client:
        assert (await refused(client, "GET", f"{PREVIEW}/{'f' * 32}"))[0] == 403
        assert await done(client, "GET", f"{OTHER_ACCOUNT}/load_balancers/preview/{'f' * 32}") == {}
