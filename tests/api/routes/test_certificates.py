import json

import pytest

from spectrum.store.audit import AuditFilter
from spectrum.store.objects import file_id
from tests.api.kinds.test_certificates import AUTHORITY, ONE, OTHER, PUBLIC, body
from tests.api.routes.calls import APPS, OTHER_ZONE, ZONE, app, done, refused

PATH = f"{ZONE}/custom_certificates"


@pytest.fixture
def sealing(api):
    """Keys can be taken."""
    api.context.sealing.public = PUBLIC
    return api.context.sealing


async def test_a_certificate_is_sent_changed_and_deleted(api, sealing):
    async with api.client() as client:
        made = await done(client, "POST", PATH, body(bundle_method="force", type="sni_custom", deploy="production"))
        path = f"{PATH}/{made['id']}"
        assert (made["hosts"], made["bundle_method"]) == (["a.example.com", "*.example.com"], "force")
        assert await done(client, "GET", path) == made
        of_file, listed = await done(client, "GET", PATH)
        assert (of_file["hosts"], listed) == ([], made)
        assert await done(client, "GET", f"{PATH}?status=expired") == []
        stored = api.daemon.live["certificates", "a.example.com"]
        assert stored["zone"] == "example.com"
        changed = await done(client, "PATCH", path, body(OTHER))
        assert (changed["hosts"], changed["bundle_method"]) == (["b.example.com"], "force")
        assert api.daemon.live["certificates", "a.example.com"]["sealed_key"] != stored["sealed_key"]
        assert (await done(client, "PATCH", path, {"bundle_method": None}))["bundle_method"] == "ubiquitous"
        tls = {"tls": "flexible", "edge_tls": {"certificates": [made["id"]]}}
        leads = (await done(client, "POST", APPS, app(**tls)))["id"]
        assert (await refused(client, "DELETE", path))[:2] == (400, 1005)
        await done(client, "DELETE", f"{APPS}/{leads}")
        assert await done(client, "DELETE", path) == {"id": made["id"]}
    audit = json.dumps([[one.before, one.after] for one in api.store.audit(AuditFilter(), 100)])
    assert "PRIVATE KEY" not in audit
    assert stored["sealed_key"] not in audit
    assert "BEGIN CERTIFICATE" in audit


async def test_refusals(api, sealing):
    async with api.client() as client:
        foreign = body(AUTHORITY.issue("a.example.org"))
        assert (await refused(client, "POST", PATH, foreign))[:2] == (400, 1002)
        assert (await refused(client, "POST", PATH, body(private_key=OTHER.key.decode())))[3] == "/private_key"
        assert (await refused(client, "POST", PATH))[:2] == (400, 1002)
        assert (await refused(client, "GET", f"{PATH}/{'0' * 32}"))[:2] == (404, 7003)
        made = (await done(client, "POST", PATH, body(ONE)))["id"]
        assert (await refused(client, "GET", f"{OTHER_ZONE}/custom_certificates/{made}"))[:2] == (404, 7003)
        with_file = file_id("certificates", "of-file")
        assert (await refused(client, "PATCH", f"{PATH}/{with_file}", body()))[:2] == (403, 10013)
        sealing.public = None
        assert (await refused(client, "POST", PATH, body()))[0] == 503


async def test_priorities_are_given_and_taken_back(api, sealing):
    async with api.client() as client:
        ids = [(await done(client, "POST", PATH, body(one)))["id"] for one in (ONE, OTHER)]
        given = [{"id": one, "priority": i} for i, one in enumerate(ids, 1)]
        shown = await done(client, "PUT", f"{PATH}/prioritize", {"certificates": given})
        assert {one["id"]: one["priority"] for one in shown} == {
            file_id("certificates", "of-file"): 0,
            ids[0]: 1,
            ids[1]: 2,
        }
        await done(client, "PATCH", f"{PATH}/{ids[1]}", {"bundle_method": "force"})
        assert (await done(client, "GET", f"{PATH}/{ids[1]}"))["priority"] == 2
        with_none = [{"id": ids[0], "priority": 0}]
        await done(client, "PUT", f"{PATH}/prioritize", {"certificates": with_none})
        assert [one.get("priority") for one in api.daemon.live.values()] == [None, 2]
        assert len(await done(client, "PUT", f"{PATH}/prioritize", {"certificates": []})) == 3
        of_file = [{"id": file_id("certificates", "of-file"), "priority": 5}]
        for wrong, code in ((of_file, (403, 10013)), ([{"id": "0" * 32, "priority": 5}], (404, 7003))):
            assert (await refused(client, "PUT", f"{PATH}/prioritize", {"certificates": wrong}))[:2] == code
    sdk = api.sdk(await api.token("certificates:edit", zones=["example.com"]))
    zone = {"zone_id": ZONE.rpartition("/")[2]}
    told = await sdk.custom_certificates.prioritize.update(**zone, certificates=given[:1])
    assert [one.priority for one in told.result if one.id == ids[0]] == [1]
