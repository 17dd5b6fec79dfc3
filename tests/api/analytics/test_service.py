import socket

import msgspec
import pytest

from spectrum.api.analytics import intake as intake_module
from spectrum.api.analytics.service import OFF, AnalyticsService
from spectrum.link.analytics import PATH, JournalQuestion
from spectrum.link.api import DECODER, ApiAnswer, ApiAsk, ApiClient
from spectrum.link.bodies import body_of, send
from spectrum.link.channel import Channel
from spectrum.tasks import Tasks
from tests.api.analytics.memory import Daemon, MemoryStore, descriptors
from tests.control.keepers import until


@pytest.fixture
async def linked(tmp_path, monkeypatch):
    """A service over a real link to a journal; `stores` are those that it has made, by their settings."""
    monkeypatch.setattr(intake_module, "GATHER_S", 0.005)
    monkeypatch.setattr(intake_module, "FIRST_PAUSE_S", 0.005)
    daemon, tasks, stores = Daemon(tmp_path / "journal"), Tasks(), []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    async def answer(ask, body):
        assert (ask.method, ask.path) == ("POST", PATH)
        if daemon.status != 200:
            send(channel, ApiAnswer(ask.id, daemon.status, b'{"errors": ["no"]}'))
            return
        view, file = await daemon.answer(msgspec.json.decode(body, type=JournalQuestion))
        files = [file] if file >= 0 else []
        send(channel, ApiAnswer(ask.id, 200, msgspec.json.encode(view), files=len(files)), files)
        intake_module.close_all(files)

    def received(message, given):
        if isinstance(message, ApiAsk):
            tasks.start(answer(message, body_of(message, given)), "answer")

    def make(settings):
        stores.append((settings, MemoryStore()))
        return stores[-1][1]

    daemon.status = 200
    channel = Channel(ours, DECODER, received, lambda: None)
    client = ApiClient(theirs, lambda *told: None, lambda: None)
    service = AnalyticsService(client, make)
    yield service, daemon, stores
    await service.stop()
    client.close()
    channel.close()
    daemon.segments.close()


async def test_it_is_off_until_it_is_configured(linked):
    service, _, stores = linked
    assert (service.is_on, service.store, service.why) == (False, None, OFF)
    service.configure(None)
    assert stores == []


async def test_it_takes_records_over_the_link(linked):
    service, daemon, stores = linked
    daemon.add(3)
    service.configure({"folder": "/x"})
    assert (service.is_on, service.store, service.why) == (True, None, "the store is being opened")
    await until(lambda: service.store)
    before = descriptors()
    daemon.add(2)
    await until(lambda: len(service.store.kept["ids"]) == 5)
    assert service.why == ""
    assert descriptors() <= before + 1
    assert [settings for settings, _ in stores] == [{"folder": "/x"}]


async def test_other_settings_are_another_store(linked):
    service, daemon, stores = linked
    service.configure({"folder": "/x"})
    await until(lambda: service.store)
    service.configure({"folder": "/x"})
    service.configure({"folder": "/y"})
    daemon.add(1)
    await until(lambda: len(stores) == 2 and stores[1][1].kept["ids"])
    assert stores[0][1].calls[-1] == "close"
    service.configure(None)
    await until(lambda: stores[1][1].calls[-1] == "close")
    assert (service.store, service.why) == (None, OFF)


async def test_a_daemon_that_refuses_is_asked_again(linked):
    service, daemon, _ = linked
    daemon.status = 422
    service.configure({"folder": "/x"})
    await until(lambda: "status 422" in service.why)
    daemon.status = 200
    daemon.add(1)
    await until(lambda: service.store and service.store.kept["ids"])
