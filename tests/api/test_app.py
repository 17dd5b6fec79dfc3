import pytest

from spectrum.api import app as module
from spectrum.api.catalogue import ObjectFault


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, 10404),
        ("GET", "/zones/", 404, 10404),
        ("DELETE", "/zones", 405, 10405),
        ("TRACE", "/zones", 405, 10405),
        ("GET", "/../../etc/passwd", 404, 10404),
        ("GET", "/zones?page=0", 400, 1002),
        ("GET", "/zones?per_page=x", 400, 1002),
        ("POST", "/accounts", 400, 1002),
    ],
)
async def test_what_goes_wrong_on_the_way_has_the_envelope(api, method, path, status, code):
    answer = await api.client().request(method, path)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
    assert answer.json()["success"] is False and answer.json()["result"] is None


async def test_faults_of_a_body_have_pointers(api):
    answer = await api.client().post("/accounts", json={"name": "", "type": "small"})
    errors = {error["source"]["pointer"]: error["message"] for error in answer.json()["errors"]}
    assert answer.status_code == 400 and set(errors) == {"/name", "/type"}
    answer = await api.client().get("/zones?page=0")
    assert answer.json()["errors"][0]["message"].startswith("page: ")


async def test_faults_of_checks_have_pointers(api):
    api.daemon.refused["third"] = [ObjectFault(("accounts", "third", "type"), "not today")]
    answer = await api.client().post("/accounts", json={"name": "third"})
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"code": 1002, "message": "not today", "source": {"pointer": "/type"}}]


async def test_what_cannot_be_changed_now(api):
    api.daemon.down = "the daemon is being upgraded"
    answer = await api.client().post("/accounts", json={"name": "third"})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")
    assert "upgraded" in answer.json()["errors"][0]["message"]


async def test_what_the_file_has_is_read_only(api):
    (account,) = [one for one in api.catalogue.all("accounts") if one.name == "acme"]
    answer = await api.client().put(f"/accounts/{account.id}", json={"name": "x"})
    assert answer.status_code == 403 and "spectrum.yaml" in answer.json()["errors"][0]["message"]


async def test_a_store_that_cannot_be_read(api):
    api.store.path.rename(api.store.path.with_suffix(".moved"))
    (account,) = [one for one in api.catalogue.all("accounts") if one.name == "acme"]
    answer = await api.client().get(f"/accounts/{account.id}/audit_logs")
    assert answer.status_code == 503 and "store" in answer.json()["errors"][0]["message"]


async def test_an_internal_error(api, monkeypatch, caplog):
    monkeypatch.setattr(api.catalogue, "all", lambda _: 1 / 0)
    answer = await api.client().get("/zones")
    assert answer.status_code == 500 and answer.json()["errors"][0]["code"] == 10002
    assert "ZeroDivisionError" not in answer.text and "ZeroDivisionError" in caplog.text


def test_what_applications_share_is_prepared_once():
    for prepared in (module._kinds, module._dashboard):
        prepared.cache_clear()
        assert prepared() is prepared()
    assert module._kinds().routes
