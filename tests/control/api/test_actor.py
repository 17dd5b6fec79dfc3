"""The API in a `Supervisor` that runs in the test's process, with a process that stands for the API's."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import pytest

from spectrum.control.api import actor
from spectrum.control.api.actor import ApiActor
from spectrum.control.configuration.source import ObjectSource
from spectrum.control.processes import keeper, linked
from spectrum.core.configuration.config import Config
from spectrum.link.succession import Handover
from tests.control.api.parts import STUB, group, put, talk
from tests.control.keepers import until
from tests.control.supervised import app, supervised


def stored(port):
    return {"protocol": f"tcp/{port}", "edge_ips": ["127.0.0.1"], "origin_direct": ["tcp://127.0.0.1:1"]}


@pytest.fixture
def running(tmp_path, monkeypatch, free_port):
    """Starts a supervisor with an API; `say` says something to its process."""
    monkeypatch.setattr(linked, "python", lambda module: STUB)
    monkeypatch.setattr(keeper, "FIRST_PAUSE_S", 0.05)

    def say(what):
        return talk(tmp_path / "api.sock", what)

    def text(more="", apps=None, api="listen: unix:{folder}/public.sock"):
        inside = api.format(folder=tmp_path)
        own = f"apps:\n{apps}" if apps else ""
        return f"api: {{{inside}, store: {tmp_path}/store, user: nobody}}\n{more}\n{own}"

    @asynccontextmanager
    async def start(first=None, serves=True):
        async with supervised(tmp_path, first or text(), has_store=True) as (daemon, write):
            api = next(one for one in daemon.features.actors if isinstance(one, ApiActor))
            if serves:
                await until(lambda: api._keeper.pid)
            yield daemon, write, api

    start.say, start.text, start.port = say, text, free_port
    return start


async def connects(port):
    """Whether something listens there; its origin refuses, so that a connection may be reset at once."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        return True
    writer.close()
    return True


async def until_nobody_listens(port):
    async with asyncio.timeout(10):
        while await connects(port):
            pass


async def test_objects_live_without_a_file_that_names_them(running, tmp_path):
    port, other = running.port(), running.port()
    put(tmp_path / "store", {"apps": {"a": stored(port)}})
    async with running() as (daemon, _, api):
        assert await connects(port)
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
        answer = await running.say({"change": [group(apps={"b": stored(other)})]})
        assert answer == [200, {"generation": 2, "faults": [[]], "busy": ""}]
        assert await connects(other)
        status, found = await running.say({"ask": ["GET", "/status", None]})
        assert (status, sorted(one["name"] for one in found["apps"])) == (200, ["a", "b"])
        assert found["api"]["pid"] == api._keeper.pid == await talk(tmp_path / "public.sock", {"pid": None})
        assert found["api"]["listen"] == [f"unix:{tmp_path}/api.sock", f"unix:{tmp_path}/public.sock"]
        metrics = await daemon.pages.metrics()
        assert b"spectrum_api_up 1.0" in metrics
        assert b'spectrum_process_resident_memory_bytes{process="api"}' in metrics or b'"api"' in metrics
        for method, path in (("POST", "/upgrade"), ("POST", "/reload"), ("GET", "/nothing")):
            assert (await running.say({"ask": [method, path, None]}))[0] == 404
        assert (await running.say({"ask": ["POST", "/changes", {}]}))[0] == 422
        assert (await running.say({"change": [group(apps={"a": None, "b": None})]}))[1]["faults"] == [[]]
        await until_nobody_listens(port)
    assert not list(tmp_path.glob("*.sock")), "they are removed at a stop"


async def test_a_reload_of_the_file_and_the_store(running, tmp_path):
    port, other, third = running.port(), running.port(), running.port()
    async with running() as (daemon, write, _):
        assert (await running.say({"change": [group(apps={"a": stored(port)})]}))[1]["faults"] == [[]]
        write(running.text(apps=app("x", port)))
        answer = await daemon.reloads.reload()
        assert answer.errors == [f"stored app a: protocol: 127.0.0.1:{port} is taken by app x"]
        write(running.text(apps=app("a", other)))
        assert (await daemon.reloads.reload()).errors == []
        (aside,) = (await daemon.pages.status())["api"]["set_aside"]
        assert aside["message"] == "the file has an app of this name"
        troubles = [one for actor in daemon._actors for one in actor.troubles()]
        assert [(one.kind, one.name, one.facts["why"]) for one in troubles] == [
            ("set_aside", aside["name"], aside["message"])
        ]
        assert b"spectrum_store_objects_set_aside 1.0" in await daemon.pages.metrics()
        told = []
        while not any(subject == "objects" for subject, _ in told):
            told = await running.say({"told": None})
        assert list(told[-1][1]["file"]["apps"]) == ["a"]
        assert await running.say({"ask": ["GET", "/objects", None]}) == [200, told[-1][1]]
        write(running.text())
        # A change and a reload at once: one after the other, both are there.
        _, changed = await asyncio.gather(
            daemon.reloads.reload(), running.say({"change": [group(apps={"b": stored(third)})]})
        )
        assert changed[1]["faults"] == [[]]
        assert sorted(daemon.served.config.apps) == ["a", "b"]


async def test_what_was_not_written_never_was(running, tmp_path):
    kept, lost = running.port(), running.port()
    async with running() as (daemon, _, api):
        await running.say({"change": [group(apps={"kept": stored(kept)})]})
        assert await running.say({"change": [group(apps={"lost": stored(lost), "kept": None})], "end": 9}) is None
        await until(lambda: list(daemon.served.config.apps) == ["kept"])
        assert await connects(kept)
        await until_nobody_listens(lost)
        await until(lambda: api._keeper.pid)
        assert b"spectrum_api_restarts_total 1.0" in await daemon.pages.metrics()
        os.kill(api._keeper.pid, signal.SIGKILL)
        answer = await running.say({"change": [group(apps={"more": stored(lost)})]})  # waits in the listening socket
        assert answer[1]["faults"] == [[]]
        assert sorted(daemon.served.config.apps) == ["kept", "more"]
        assert daemon.pages.ready(), "whatever becomes of the API"


async def test_another_place_to_listen_or_none(running, tmp_path):
    async with running() as (daemon, write, api):
        first, port = api._keeper.pid, running.port()
        write(running.text(api=f"listen: 127.0.0.1:{port}"))
        assert (await daemon.reloads.reload()).errors == []
        while await running.say({"pid": None}) == first:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await connects(port)
        assert not (tmp_path / "public.sock").exists()
        taken = await asyncio.start_server(print, "127.0.0.1", running.port())
        where = taken.sockets[0].getsockname()
        write(running.text(api=f"listen: {where[0]}:{where[1]}"))
        answer = await daemon.reloads.reload()
        assert answer.errors == [f"api: {where[0]}:{where[1]}: address already in use"]
        assert await connects(port)
        taken.close()
        write(f"apps:\n{app('x', running.port())}")
        assert (await daemon.reloads.reload()).errors == []
        await until(lambda: not api._keeper.has_writer)
        assert "api" not in await daemon.pages.status()
        assert b"spectrum_api_up" not in await daemon.pages.metrics()
        write(running.text())
        assert (await daemon.reloads.reload()).errors == []
        await until(lambda: api._keeper.pid)


async def test_another_store(running, tmp_path):
    put(tmp_path / "second", {"apps": {"other": stored(running.port())}})
    async with running() as (daemon, write, api):
        write(running.text().replace(f"{tmp_path}/store", f"{tmp_path}/second"))
        assert (await daemon.reloads.reload()).errors == []
        assert list(daemon.served.config.apps) == ["other"]
        await until(lambda: api._keeper.store == tmp_path / "second" and api._keeper.pid)
        assert (await running.say({"change": [group(apps={"other": None})]}))[1]["faults"] == [[]]


async def test_a_daemon_that_stops_changes_nothing_more(running, tmp_path):
    async with running() as (daemon, _, api):
        os.kill(daemon.fleet.workers[0].pid, signal.SIGSTOP)
        daemon.stop()
        answer = await api._answer("POST", "/changes", {}, b'{"groups": []}')
        os.kill(daemon.fleet.workers[0].pid, signal.SIGCONT)
        assert answer == (200, b'{"generation":1,"busy":"the daemon is stopping","faults":[]}', ())


async def test_a_folder_of_somebody_else(running, tmp_path, monkeypatch):
    monkeypatch.setattr(actor, "api_user", lambda config: "nobody")
    (tmp_path / "mine").mkdir()
    async with running() as (daemon, write, _):
        write(running.text().replace(f"{tmp_path}/store", f"{tmp_path}/mine"))
        (error,) = (await daemon.reloads.reload()).errors
        assert error == f"api.store: {tmp_path}/mine belongs to another user; chown -R nobody {tmp_path}/mine"
        (tmp_path / "file").touch()
        write(running.text().replace(f"{tmp_path}/store", f"{tmp_path}/file/x"))
        (error,) = (await daemon.reloads.reload()).errors
        assert error == f"api.store: {tmp_path}/file/x: not a directory"


async def test_it_hands_its_sockets_on(running, tmp_path):
    async with running() as (_, _, api):
        handover = Handover()
        await api.give(handover, None)
        assert list(handover.api) == [f"unix:{tmp_path}/api.sock", f"unix:{tmp_path}/public.sock"]
        api.leave()
        await until(lambda: api._keeper.restarts)


async def test_what_a_program_serves_has_no_store(tmp_path):
    made = ApiActor(tmp_path / "control.sock", ObjectSource("x", {}, str), None, None, str, list, None, None)
    assert made.resources() == ()
    await made._restore()
    await made.close()


def test_what_the_api_may_order():
    """It is told nothing of accounts, files and servers."""
    authorities = {
        "lets_encrypt": {"accept_terms": True, "email": "ops@a.example", "dns": {"server": "192.0.2.53"}},
        "ours": {"accept_terms": True, "directory": "https://ca.example/d", "validity_days": 14},
    }
    acme = {"authorities": authorities, "per_account": {"certificates": 5}}
    assert actor._ordering(Config.model_validate({"acme": acme})) == {
        "authorities": {
            "lets_encrypt": {"challenge": "http-01", "by_dns": True, "validity_days": 90},
            "ours": {"challenge": "http-01", "by_dns": False, "validity_days": 14},
        },
        "certificates": 5,
        "orders_per_week": 50,
    }
