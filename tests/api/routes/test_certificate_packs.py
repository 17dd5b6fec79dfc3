import time

import pytest

from spectrum.api.catalogue import NotLive
from spectrum.api.supervisor import ValueRefused
from spectrum.store.audit import AuditFilter
from tests.api.routes.calls import ACCOUNT, APPS, OTHER_ACCOUNT, OTHER_ZONE, ZONE, app, done, refused
from tests.api.serving import NOTHING, Api

PACKS = "/ssl/certificate_packs"
PATH = ZONE + PACKS
AUTHORITY = {"challenge": "http-01", "by_dns": True, "validity_days": 90}
ORDERING = {"authorities": {"lets_encrypt": AUTHORITY}, "certificates": 3, "orders_per_week": 4}


@pytest.fixture
def ordering(api):
    """Certificates can be ordered."""
    api.context.ordering.configure(ORDERING)
    return api.context.ordering


def order(*hosts, **more):
    return {
        "type": "advanced",
        "hosts": list(hosts or ("a.example.com",)),
        "validation_method": "http",
        "validity_days": 90,
        "certificate_authority": "lets_encrypt",
    } | more


@pytest.fixture
def told(api, monkeypatch):
    """What the daemon answers; notes what it is asked."""
    answers, asked = dict(NOTHING), []

    async def ask(method, path, query=None, body=None):
        asked.append((path, dict(query or {})))
        if isinstance(answers[path], Exception):
            raise answers[path]
        return answers[path]

    monkeypatch.setattr(api.daemon, "ask", ask)
    answers["asked"] = asked
    return answers


async def test_a_certificate_is_ordered_and_deleted(api, ordering, told):
    async with api.client() as client:
        made = await done(
            client, "POST", f"{PATH}/order", order("a.example.com", "*.a.example.com", validation_method="txt")
        )
        path = f"{PATH}/{made['id']}"
        assert (made["status"], made["certificates"], made["validity_days"]) == ("initializing", [], 90)
        ((section, name),) = api.daemon.live
        stored = api.daemon.live[section, name]
        acme = {"names": ["a.example.com", "*.a.example.com"], "authority": "lets_encrypt", "challenge": "dns-01"}
        assert (section, stored) == ("certificates", {"acme": acme, "zone": "example.com"})
        assert await done(client, "GET", PATH) == [], "none is active"
        assert await done(client, "GET", f"{PATH}?status=all") == [made]
        issued = {
            "name": name,
            "names": acme["names"],
            "issuer": "CA",
            "temporary": False,
            "ends_at": 9e9,
            "order": None,
        }
        told["/certificates"] = {"certificates": [issued]}
        shown = await done(client, "GET", path)
        assert (shown["status"], shown["primary_certificate"], shown["certificates"][0]["issuer"]) == (
            "active",
            made["id"],
            "CA",
        )
        assert await done(client, "GET", PATH) == [shown]
        assert await done(client, "GET", f"{PATH}?deploy=staging") == []
        assert await done(client, "GET", f"{PATH}/quota") == {"advanced": {"allocated": 3, "used": 1}}
        tls = {"tls": "flexible", "edge_tls": {"certificates": [made["id"]]}}
        leads = (await done(client, "POST", APPS, app(**tls)))["id"]
        assert (await refused(client, "DELETE", path))[:2] == (400, 1005)
        await done(client, "DELETE", f"{APPS}/{leads}")
        assert await done(client, "DELETE", path) == {"id": made["id"]}
    assert told["asked"][-1] == ("/certificates/forget", {"name": name}), "its key is removed"
    entries = api.store.audit(AuditFilter(sections=("certificates",)), 10, newest_first=False)
    assert [(one.action, one.path.rpartition("/")[2]) for one in entries if one.is_done] == [
        ("create", "order"),
        ("order", "order"),
        ("delete", made["id"]),
    ]


async def test_ordered_ones_and_sent_ones_are_apart(api, ordering):
    async with api.client() as client:
        made = (await done(client, "POST", f"{PATH}/order", order()))["id"]
        sent = f"{ZONE}/custom_certificates"
        assert [one["hosts"] for one in await done(client, "GET", sent)] == [[]], "that of the file"
        for method in ("GET", "DELETE"):
            assert (await refused(client, method, f"{sent}/{made}"))[:2] == (404, 7003)
        of_file = (await done(client, "GET", sent))[0]["id"]
        assert (await refused(client, "GET", f"{PATH}/{of_file}"))[:2] == (404, 7003)


async def test_refusals(api, ordering):
    async with api.client() as client:
        path = f"{PATH}/order"
        for body, pointer, says in (
            (None, "", "expected a JSON object"),
            (order(certificate_authority="google"), "/certificate_authority", "expected lets_encrypt"),
            (order("a.example.org"), "/hosts/0", "a.example.org is not in example.com"),
            (order("a.example.com", "notexample.com"), "/hosts/1", "is not in example.com"),
            (order("a.example.com", "a b"), "/hosts/1", "is not a server name"),
            (order("a.example.com", "A.example.com"), "/hosts", "is listed twice"),
        ):
            status, code, message, at = await refused(client, "POST", path, body)
            assert (status, code) == (400, 1002) and says in message, message
            assert at is None or at.startswith(pointer) or pointer.startswith(at), at
        assert api.daemon.live == {}
        assert not api.store.count_audit(AuditFilter(actions=("order",)))


async def test_an_account_has_limits(api, ordering):
    async with api.client() as client:
        path = f"{PATH}/order"
        made = [(await done(client, "POST", path, order(f"{i}.example.com")))["id"] for i in range(3)]
        status, code, message, _ = await refused(client, "POST", path, order())
        assert (status, code) == (400, 1002) and "may have 3 ordered certificates" in message
        for one in made:
            await done(client, "DELETE", f"{PATH}/{one}")
        await done(client, "POST", path, order())
        answer = await client.post(path, json=order("b.example.com"))
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (429, 10429)
        assert "4 orders in seven days" in answer.text
        assert 7 * 86400 - 60 < int(answer.headers["retry-after"]) <= 7 * 86400 + 1
        assert answer.headers["x-should-retry"] == "false"
        await done(client, "POST", f"{OTHER_ZONE}{PACKS}/order", order("a.example.net"))  # each has its own
        ordering.orders_per_week = 0
        assert (await client.post(path, json=order("b.example.com"))).status_code == 429


async def test_orders_of_a_clock_that_was_ahead_do_not_count(api, ordering, monkeypatch):
    now = time.time
    async with api.client() as client:
        with monkeypatch.context() as ahead:
            ahead.setattr(time, "time", lambda: now() + 400 * 86400)
            for i in range(4):
                made = await done(client, "POST", f"{PATH}/order", order(f"{i}.example.com"))
                await done(client, "DELETE", f"{PATH}/{made['id']}")
            assert (await client.post(f"{PATH}/order", json=order("b.example.com"))).status_code == 429
        await done(client, "POST", f"{PATH}/order", order("b.example.com"))


async def test_an_order_that_failed_is_given_again(api, ordering, told):
    async with api.client() as client:
        made = (await done(client, "POST", f"{PATH}/order", order()))["id"]
        ((_, name),) = api.daemon.live
        failed = {"ordering": False, "failures": 1, "failure": "refused"}
        waits = {"name": name, "names": [], "issuer": "", "temporary": True, "ends_at": 0, "order": failed}
        told["/certificates"] = {"certificates": [waits]}
        shown = await done(client, "PATCH", f"{PATH}/{made}", {"cloudflare_branding": False})
        assert (shown["status"], shown["validation_errors"]) == ("pending_validation", [{"message": "refused"}])
        assert ("/certificates/order", {"name": name}) in told["asked"]
        assert (await refused(client, "PATCH", f"{PATH}/{made}", {"hosts": []}))[:2] == (400, 1002)
        told["/certificates/order"] = ValueRefused("it is valid", is_for_now=False)
        assert "it is valid" in (await refused(client, "PATCH", f"{PATH}/{made}", {}))[2]
        assert api.store.count_audit(AuditFilter(actions=("order",))) == 2, "what was not done does not count"
        told["/certificates/forget"] = NotLive("away", is_for_now=True)
        assert await done(client, "DELETE", f"{PATH}/{made}") == {"id": made}


async def test_an_order_is_changed(api, ordering, told):
    async with api.client() as client:
        made = (await done(client, "POST", f"{PATH}/order", order()))["id"]
        path, ((section, name),) = f"{PATH}/{made}", api.daemon.live
        shown = await done(client, "PATCH", path, {"hosts": ["b.example.com"], "validation_method": "txt"})
        assert (shown["id"], shown["hosts"], shown["validation_method"]) == (made, ["b.example.com"], "txt")
        acme = {"names": ["b.example.com"], "authority": "lets_encrypt", "challenge": "dns-01"}
        assert api.daemon.live[section, name] == {"acme": acme, "zone": "example.com"}
        assert ("/certificates/order", {"name": name}) not in told["asked"], "the daemon sees by itself what is due"
        for body, pointer in (
            ({"hosts": ["b.example.net"]}, "/hosts/0"),
            ({"validation_method": "http", "hosts": ["*.example.com"]}, "/validation_method"),
            ({"hosts": []}, "/hosts"),
            ({"private_key": "x"}, "/private_key"),
            ([], ""),
        ):
            assert (await refused(client, "PATCH", path, body))[3] == pointer, body
        assert api.store.count_audit(AuditFilter(actions=("order",))) == 2, "what was refused does not count"
        ordering.orders_per_week = 2
        assert (await client.patch(path, json={"hosts": ["c.example.com"]})).status_code == 429


async def test_permissions(api, ordering):
    reader = await api.token("certificates:read", accounts=["acme"])
    async with api.client(reader) as client:
        assert await done(client, "GET", PATH) == []
        assert (await refused(client, "POST", f"{PATH}/order", order()))[:2] == (403, 9109)
    writer = await api.token("certificates:edit", zones=["example.com"])
    async with api.client(writer) as client:
        await done(client, "POST", f"{PATH}/order", order())
        assert (await refused(client, "POST", f"{OTHER_ZONE}{PACKS}/order", order("a.example.net")))[:2] == (403, 9109)


FILE = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {}, "www.example.com": {"account": "other"}, "example.net": {"account": "other"}},
}


async def test_a_name_belongs_to_one_account(tmp_path):
    """Zones may lie in one another. Whatever leads to this edge would pass the CA's look."""
    async with Api(tmp_path, FILE) as api:
        api.context.ordering.configure(ORDERING)
        async with api.client() as client:
            for account, name in ((OTHER_ACCOUNT, "shop.example.com"), (ACCOUNT, "example.org")):
                await done(client, "POST", "/zones", {"name": name, "account": {"id": account.rpartition("/")[2]}})
            await done(client, "POST", "/zones", {"name": "a.example.org", "account": {"id": OTHER_ACCOUNT[-32:]}})
            zones = {one["name"]: f"/zones/{one['id']}" for one in await done(client, "GET", "/zones")}
            for zone, host, may in (
                ("www.example.com", "www.example.com", True),  # the file gives it away
                ("example.com", "www.example.com", False),
                ("shop.example.com", "shop.example.com", False),  # nobody did
                ("example.com", "shop.example.com", True),
                ("a.example.org", "a.example.org", False),  # made later
                ("example.org", "a.example.org", True),
            ):
                answer = await client.post(f"{zones[zone]}{PACKS}/order", json=order(host))
                assert (answer.status_code == 200) is may, (zone, host, answer.text)
                assert may or "is in a zone of another account" in answer.text


async def test_the_official_client(api, ordering):
    sdk = api.sdk(await api.token("certificates:edit", zones=["example.com"]))
    zone = {"zone_id": ZONE.rpartition("/")[2]}
    packs = sdk.ssl.certificate_packs
    made = await packs.create(**zone, **order())
    assert (await packs.get(made.id, **zone)).to_dict() == made.to_dict()
    assert [one.id async for one in packs.list(**zone, status="all")] == [made.id]
    assert (await packs.quota.get(**zone)).advanced.used == 1
    assert (await packs.edit(made.id, **zone)).id == made.id
    assert (await packs.delete(made.id, **zone)).id == made.id
