import pytest

from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, POOLS, balancing, done, refused

STATE = f"{ACCOUNT}/load_balancers/state"


@pytest.fixture
def asked(api, monkeypatch):
    """What the daemon was asked."""
    found = []

    async def ask(method, path, query=None):
        found.append((method, path, query))
        if path == "/balancing":
            pools = [{"name": "eu", "health": "healthy"}, {"name": "of another account", "health": "critical"}]
            return {"node": "fra1", "pools": pools, "load_balancers": [{"name": "lb.example.com", "enabled": True}]}
        return {"changed": query.get("value") != "0.5", "message": f"origin {query['origin']} {path}"}

    monkeypatch.setattr(api.daemon, "ask", ask)
    return found


async def test_an_account_sees_its_own(api, asked):
    async with api.client() as client:
        _, pool, balancer = await balancing(client)
        assert await done(client, "GET", STATE) == {
            "node": "fra1",
            "pools": [{"id": pool, "name": "eu", "health": "healthy"}],
            "load_balancers": [{"id": balancer, "name": "lb.example.com", "enabled": True}],
        }
        empty = {"node": "fra1", "pools": [], "load_balancers": []}
        assert await done(client, "GET", f"{OTHER_ACCOUNT}/load_balancers/state") == empty


async def test_an_origin_is_set_by_hand_and_that_is_in_the_audit_log(api, asked):
    async with api.client() as client:
        _, pool, _ = await balancing(client)
        path = f"{POOLS}/{pool}/by_hand"
        told = await done(client, "POST", path, {"origin": "a", "state": "drain"})
        assert told == {"message": "origin eu/a /origins/drain"}
        await done(client, "POST", path, {"origin": "a", "state": "enable", "weight": None})
        await done(client, "POST", path, {"origin": "a", "weight": 0.5})
        assert asked == [
            ("POST", "/origins/drain", {"origin": "eu/a"}),
            ("POST", "/origins/enable", {"origin": "eu/a"}),
            ("POST", "/origins/weight", {"origin": "eu/a", "value": ""}),
            ("POST", "/origins/weight", {"origin": "eu/a", "value": "0.5"}),
        ]
        log = await done(client, "GET", f"{ACCOUNT}/audit_logs")
        assert [one["action"]["type"] for one in log[:3]] == ["weight", "enable", "drain"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"origin": "b", "state": "drain"}, "/origin"),
        ({"origin": "a"}, ""),
        ({"origin": "a", "state": "stop"}, "/state"),
        ({"origin": "a", "weight": 2}, "/weight"),
    ],
)
async def test_invalid_requests(api, asked, body, pointer):
    async with api.client() as client:
        _, pool, _ = await balancing(client)
        status, code, _, where = await refused(client, "POST", f"{POOLS}/{pool}/by_hand", body)
        assert (status, code, where) == (400, 1002, pointer)
        assert (
            await refused(client, "POST", f"{POOLS}/{file_id('pools', 'x')}/by_hand", {"origin": "a", "state": "drain"})
        )[0] == 404
        assert asked == []
