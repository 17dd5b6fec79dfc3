import json

import pytest

from spectrum.api.supervisor import ValueRefused
from spectrum.control.ddos.attacks import AttackBook, AttacksActor
from spectrum.control.http.resource import ResourceTable
from spectrum.store.objects import file_id
from tests.api.routes.calls import ACCOUNT, done, refused
from tests.api.serving import Api
from tests.core.ddos.attack_samples import event, frame, sample

FILE = {
    "accounts": {"acme": {}, "other": {}},
    "zones": {"example.com": {"account": "acme"}, "other.test": {"account": "other"}},
    "apps": {
        "game": {"protocol": "udp/1", "zone": "example.com"},
        "theirs": {"protocol": "tcp/3", "zone": "other.test"},
    },
}
ATTACKS = f"{ACCOUNT}/attacks"
MINE, THEIRS, STRAY = (f"{number:016x}" for number in (1, 2, 3))


@pytest.fixture
async def api(tmp_path, monkeypatch):
    """An API whose daemon had three attacks: on an app of each account, and on none."""
    book = AttackBook(tmp_path / "attacks", lambda records: None)
    book.take([event(samples=[sample(1)]), event(number=2, app="theirs"), event(number=3, app="")])
    table = ResourceTable(AttacksActor(book, lambda: True).resources(), 0)

    async def ask(method, path, query=None, body=None):
        status, answer = await table.answer(method, path, query or {}, b"")
        if status == 422:
            raise ValueRefused("; ".join(json.loads(answer)["errors"]))
        return json.loads(answer)

    async with Api(tmp_path, FILE) as running:
        monkeypatch.setattr(running.daemon, "ask", ask)
        yield running


async def test_an_account_sees_attacks_on_its_apps(api):
    async with api.client(await api.token("analytics:read", accounts=["acme"])) as client:
        (one,) = await done(client, "GET", ATTACKS)
        assert (one["id"], one["app_id"]) == (MINE, file_id("apps", "game"))
        shown = await done(client, "GET", f"{ATTACKS}/{MINE}")
        assert shown["samples"][0]["source"] == "198.51.100.1" and shown["rules"][0]["in_words"]
        for other in (THEIRS, STRAY, "ffff"):
            assert await refused(client, "GET", f"{ATTACKS}/{other}") == (
                404,
                1001,
                f'there is no attack "{other}"',
                None,
            )
        assert await done(client, "GET", f"{ATTACKS}?state=ended") == []


async def test_callers_who_may_read_everything_see_all(api):
    async with api.client() as client:
        assert {one["id"] for one in await done(client, "GET", ATTACKS)} == {MINE, THEIRS, STRAY}
        assert (await done(client, "GET", f"{ATTACKS}/{STRAY}"))["app_id"] is None
        answer = await client.get(f"{ATTACKS}/{MINE}/pcap")
        assert answer.headers["content-disposition"] == f'attachment; filename="attack-{MINE}.pcap"'
        assert answer.content.endswith(frame(1))


async def test_missing_permissions(api):
    async with api.client(await api.token("diagnostics:read", accounts=["acme"])) as client:
        assert (await refused(client, "GET", ATTACKS))[0] == 403
