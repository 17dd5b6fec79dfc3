from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, OTHER_ACCOUNT, done, refused


async def test_an_account_has_the_figures_of_its_apps_by_their_ids(api, monkeypatch):
    told = {
        "at": 5.0,
        "keys": ["sessions"],
        "apps": {"ssh.example.com": [3], "game": [4], "gone": [1]},
        "paused": ["game"],
    }

    async def ask(method, path):
        assert (method, path) == ("GET", "/apps/figures")
        return told

    monkeypatch.setattr(api.daemon, "ask", ask)
    async with api.client() as client:
        found = await done(client, "GET", f"{ACCOUNT}/spectrum/figures")
        assert found == told | {"apps": {file_id("apps", "ssh.example.com"): [3]}, "paused": []}
        other = await done(client, "GET", f"{OTHER_ACCOUNT}/spectrum/figures")
        game = file_id("apps", "game")
        assert (other["apps"], other["paused"]) == ({game: [4]}, [game])


async def test_an_app_is_paused_and_that_is_in_the_audit_log(api, monkeypatch):
    asked = []

    async def ask(method, path, query):
        asked.append((method, path, query))
        return {"changed": path == "/apps/pause", "message": f"{path} of {query['app']}"}

    monkeypatch.setattr(api.daemon, "ask", ask)
    path = f"{ACCOUNT}/spectrum/apps/{file_id('apps', 'ssh.example.com')}"
    async with api.client() as client:
        assert await done(client, "POST", f"{path}/pause") == {"message": "/apps/pause of ssh.example.com"}
        await done(client, "POST", f"{path}/resume")
        assert (await refused(client, "POST", f"{ACCOUNT}/spectrum/apps/{file_id('apps', 'game')}/pause"))[0] == 404
        (line,) = await done(client, "GET", f"{ACCOUNT}/audit_logs")
    assert line["action"]["type"] == "pause"
    assert [one[1] for one in asked] == ["/apps/pause", "/apps/resume"]
