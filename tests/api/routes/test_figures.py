from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, done


async def test_an_account_has_the_figures_of_its_apps_by_their_ids(api, monkeypatch):
    told = {"at": 5.0, "keys": ["sessions"], "apps": {"ssh.example.com": [3], "game": [4], "gone": [1]}}

    async def ask(method, path):
        assert (method, path) == ("GET", "/apps/figures")
        return told

    monkeypatch.setattr(api.daemon, "ask", ask)
    async with api.client() as client:
        found = await done(client, "GET", f"{ACCOUNT}/spectrum/figures")
        assert found == told | {"apps": {file_id("apps", "ssh.example.com"): [3]}}
        assert (await done(client, "GET", f"{OTHER_ACCOUNT}/spectrum/figures"))["apps"] == {
            file_id("apps", "game"): [4]
        }
