import pytest

from tests.api.routes.calls import ACCOUNT, done, refused

STATUS = {
    "version": "1.0",
    "pid": 7,
    "config": "/etc/spectrum.yaml",
    "generation": 3,
    "workers": [{"number": 0}],
    "kernel": {"filter": "off: no list /etc/secret.txt", "offload": "on"},
    "records": {"journal": {"path": "/var/secret"}},
    "apps": [{"name": "game"}],
    "pools": [{"name": "secret"}],
}
LIMITS = [{"of": of} for of in ("node", "worker-0", "supervisor", "ssh.example.com", "game", "secret/o")]
FOUND = {"findings": [{"verified": False, "title": "a table", "remedy": "ip route"}], "not_looked": []}


@pytest.fixture
def node(api, monkeypatch):
    answers = {"/status": STATUS, "/limits": {"limits": LIMITS}, "/doctor": FOUND}

    async def ask(method, path, query=None, body=None):
        return answers[path]

    monkeypatch.setattr(api.daemon, "ask", ask)


async def test_operators_see_everything_of_the_machine(api, node):
    async with api.client() as client:
        shown = await done(client, "GET", f"{ACCOUNT}/node")
        assert (shown["config"], shown["kernel"], shown["records"], shown["limits"]) == (
            STATUS["config"],
            STATUS["kernel"],
            STATUS["records"],
            LIMITS,
        )
        assert not {"apps", "pools"} & shown.keys()
        assert await done(client, "GET", f"{ACCOUNT}/doctor") == FOUND


async def test_tenants_see_no_file_and_nothing_of_others(api, node):
    token = await api.token("diagnostics:read", accounts=["acme"])
    async with api.client(token) as client:
        assert await done(client, "GET", f"{ACCOUNT}/node") == {
            "version": "1.0",
            "generation": 3,
            "workers": [{"number": 0}],
            "kernel": {"filter": "off", "offload": "on"},
            "limits": LIMITS[:4],
        }
        assert (await done(client, "GET", f"{ACCOUNT}/doctor"))["findings"] == []
    async with api.client(await api.token("analytics:edit", accounts=["acme"])) as client:
        assert (await refused(client, "GET", f"{ACCOUNT}/node"))[0] == 403
