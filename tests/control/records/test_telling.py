"""A client's story, asked of the daemon: of an account's apps, one search at a time."""

import asyncio
import threading

import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import ResourceRequest
from spectrum.control.paths import journal_folder
from spectrum.control.records import telling as module
from spectrum.control.records.telling import StoryActor
from tests.control.plans import first
from tests.control.records.test_search import CLIENT, write

APPS = """
accounts: {acme: {}, other: {}}
zones: {example.com: {account: acme}, example.net: {account: other}}
apps:
  web: {protocol: tcp/1, zone: example.com, origin_direct: ["tcp://192.0.2.1:80"]}
  ssh: {protocol: tcp/2, zone: example.net, origin_direct: ["tcp://192.0.2.1:22"]}
"""


async def teller(text):
    served = Served(load_text(text, "f"))
    await served.commit(first(text))
    (resource,) = StoryActor(served).resources()
    assert (resource.method, resource.path) == ("GET", "/story")
    return lambda **query: resource.answer(ResourceRequest(query))


@pytest.fixture
async def tell(tmp_path):
    write(tmp_path / "journal")
    return await teller(f"{APPS}records: {{journal: {{path: {tmp_path}/journal}}}}")


async def test_records_of_an_accounts_apps(tell):
    told = await tell(subject=CLIENT, account="acme", limit="3")
    assert ([one["SessionId"] for one in told["records"]], told["omitted"]) == (["9.2bc", "9.320", "9.384"], 7)
    assert (told["client"], told["is_kept"], told["refused"]) == (CLIENT, True, 10)
    assert len((await tell(subject=CLIENT))["records"]) == 10
    assert len((await tell(subject=CLIENT, since="2026-11-26T14:10", until="2026-11-26T14:12"))["records"]) == 2
    for account in ("other", "gone"):
        assert (await tell(subject=CLIENT, account=account))["records"] == ()


async def test_the_journal_that_analytics_has(tmp_path):
    text = f"{APPS}control: {{socket: {tmp_path}/control.sock}}\napi: {{store: {tmp_path}/store}}\nanalytics: true\n"
    write(journal_folder(load_text(text, "f")))
    told = await (await teller(text))(subject=CLIENT, account="acme")
    assert (told["is_kept"], len(told["records"])) == (True, 10)


async def test_without_a_journal_nothing_is_kept():
    told = await (await teller(APPS))(subject=CLIENT)
    assert (told["is_kept"], told["records"]) == (False, ())
    assert "no records are kept" in told["notes"][0]


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ({"subject": "x"}, '"x" is neither an address'),
        ({"subject": CLIENT, "since": "x"}, '"x" is not a time'),
        ({"subject": CLIENT, "limit": "0"}, "limit: from 1 to 10000"),
        ({"subject": CLIENT, "limit": "x"}, "limit: from 1 to 10000"),
    ],
)
async def test_what_is_not_understood(tell, query, fault):
    with pytest.raises(ValueError, match=fault):
        await tell(**query)


async def test_a_journal_that_cannot_be_read(tell, monkeypatch):
    def search(*_):
        raise PermissionError(13, "Permission denied", "/x")

    monkeypatch.setattr(module, "search", search)
    with pytest.raises(ValueError, match="/x: permission denied"):
        await tell(subject=CLIENT)


async def test_one_search_at_a_time_and_not_many_that_wait(tell, monkeypatch):
    running, go_on, real = [], threading.Event(), module.search

    def search(*given):
        running.append(given)
        assert go_on.wait(10)
        return real(*given)

    monkeypatch.setattr(module, "search", search)

    async def ask(number):
        told[number] = await tell(subject=CLIENT)
        if "busy" in told[number]:
            assert (told, len(running)) == ({number: {"busy": "other searches are running"}}, 1)
            go_on.set()

    told = {}
    await asyncio.gather(*map(ask, range(4)))
    assert sorted(len(one.get("records", ())) for one in told.values()) == [0, 10, 10, 10]
    assert "records" in await tell(subject=CLIENT)
