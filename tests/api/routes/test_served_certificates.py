from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, done
from tests.api.serving import Api


async def test_an_account_sees_its_own(tmp_path, monkeypatch):
    file = {
        "accounts": {"acme": {}, "other": {}},
        "certificates": {"a": {"certificate": "/a.pem", "key": "/a.key"}, "b": {"account": "other"}},
        "apps": {"x": {"protocol": "tcp/1", "edge_tls": {"certificates": ["a"]}}},
    }
    told = [{"name": name, "names": [f"{name}.example"], "ends_at": 5} for name in ("a", "b", "gone")]

    async def ask(method, path):
        assert (method, path) == ("GET", "/certificates")
        return {"certificates": told}

    async with Api(tmp_path, file) as api:
        monkeypatch.setattr(api.daemon, "ask", ask)
        async with api.client() as client:
            (shown,) = await done(client, "GET", f"{ACCOUNT}/spectrum/certificates")
            more = {
                "id": file_id("certificates", "a"),
                "zone_id": None,
                "in_file": True,
                "revision": 0,
                "used_by": ["x"],
            }
            assert shown == told[0] | more
            (other,) = await done(client, "GET", f"{OTHER_ACCOUNT}/spectrum/certificates")
            assert other["name"] == "b"
