import asyncio
import os
import socket
import stat

import aiohttp
import msgspec
import pytest

from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.reload import Reloaded
from spectrum.control.http.admin import AdminServer, MetricsActor, Upgraded, control_app, metrics_app
from spectrum.control.http.resource import Resource
from spectrum.core.address import parse_socket_address
from spectrum.kernel.sockets import ListenError
from tests.control.plans import change, first


async def render():
    return b"metric 1\n"


async def render_open():
    return b"metric 1.0\n# EOF\n"


async def status(asked):
    return {"pid": 1}


async def upgrade(python):
    return Upgraded(pid=7) if python == "/x" else Upgraded(["no"])


async def reload():
    return Reloaded(errors=["f:1:1: wrong", "f\udcff:1:1: wrong"], changes=[])


async def say(asked):
    if asked.query.get("app") != "ssh":
        raise ValueError("no such app\nno other one")
    return {"body": asked.body, "uid": asked.uid}


APPS = [{"name": f"app-{number}", "text": "ä\n" * number} for number in range(1001)]
LONG = {
    "none": [],
    "apps": APPS,
    "by_name": {one["name"]: one for one in APPS},
    "few": APPS[:250],
    "more": APPS[:251],
    "ready": msgspec.Raw(msgspec.json.encode(APPS)),
    "pid": 1,
}


async def long_status(asked):
    return LONG


async def alone(asked):
    return [1, "x"]


async def nothing(asked):
    return {}


RESOURCES = (
    Resource("GET", "/status", status),
    Resource("GET", "/long", long_status),
    Resource("GET", "/alone", alone),
    Resource("GET", "/nothing", nothing),
    Resource("GET", "/say", say),
    Resource("POST", "/say", say, has_body=True),
)


async def test_metrics_and_health(free_port):
    server, ready = AdminServer(), [True]
    where = parse_socket_address(f"127.0.0.1:{free_port()}")
    await server.serve_metrics(metrics_app(render, render_open, lambda: ready[0]), where)
    async with aiohttp.ClientSession(f"http://{where}") as client:
        async with client.get("/metrics") as answer:
            assert await answer.read() == b"metric 1\n"
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert "Content-Encoding" in answer.headers and "Server" not in answer.headers
        async with client.get("/metrics", headers={"Accept-Encoding": "identity"}) as answer:
            assert "Content-Encoding" not in answer.headers
        asked = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4"
        async with client.get("/metrics", headers={"Accept": asked}) as answer:
            assert (await answer.read()).endswith(b"# EOF\n")
            assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        async with client.get("/") as answer:
            text = await answer.text()
            assert all(f'href="{page}"' in text for page in ("/metrics", "/healthz", "/readyz"))
        for page, code in (("/healthz", 200), ("/readyz", 200), ("/nothing", 404)):
            async with client.get(page) as answer:
                assert answer.status == code
        ready[0] = False
        async with client.get("/readyz") as answer:
            assert answer.status == 503
        async with client.get("/healthz") as answer:
            assert answer.status == 200
    with pytest.raises(ListenError, match="metrics"):
        await AdminServer().serve_metrics(metrics_app(render, render_open, lambda: True), where)
    text = f"metrics: {{listen: {where}}}\napps: {{x: {{protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}}}\n"
    other = MetricsActor(AdminServer(), metrics_app(render, render_open, lambda: True))
    with pytest.raises(RolloutError, match=f"metrics: {where}: address already in use"):
        await other.prepare(first(text))
    await other.prepare(change(text, text))  # a reload keeps the address
    await server.stop()


async def test_a_long_page_comes_in_pieces_between_which_the_loop_turns(free_port):
    page = b"".join(b"metric_%d 1\n" % number for number in range(200_000))

    async def long():
        return page

    server = AdminServer()
    where = parse_socket_address(f"127.0.0.1:{free_port()}")
    await server.serve_metrics(metrics_app(long, long, lambda: True), where)
    async with aiohttp.ClientSession(f"http://{where}") as client:
        for encoding, is_gzip in (("identity", False), ("gzip", True)):
            async with client.get("/metrics", headers={"Accept-Encoding": encoding}) as answer:
                assert await answer.read() == page
                assert ("Content-Encoding" in answer.headers) is is_gzip
        async with client.head("/metrics", headers={"Accept-Encoding": "identity"}) as answer:
            assert int(answer.headers["Content-Length"]) == len(page) and await answer.read() == b""
    await server.stop()


async def test_control(tmp_path):
    server, path = AdminServer(), tmp_path / "sub" / "control.sock"
    await server.serve_control(control_app(reload, upgrade, RESOURCES), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with aiohttp.ClientSession("http://x", connector=aiohttp.UnixConnector(str(path))) as client:
        async with client.get("/status") as answer:
            assert await answer.json() == {"pid": 1}
        for path_, content in (("/long", LONG | {"ready": APPS}), ("/alone", [1, "x"]), ("/nothing", {})):
            async with client.get(path_) as answer:
                assert await answer.json() == content
        async with client.post("/reload") as answer:
            assert (answer.status, await answer.json()) == (
                422,
                {"errors": ["f:1:1: wrong", "f\\udcff:1:1: wrong"], "changes": [], "restart": []},
            )
        async with client.post("/upgrade", params={"python": "/x"}) as answer:
            assert (answer.status, await answer.json()) == (200, {"errors": [], "pid": 7})
        async with client.post("/upgrade") as answer:
            assert (answer.status, await answer.json()) == (422, {"errors": ["no"], "pid": 0})
        async with client.get("/say", params={"app": "ssh"}) as answer:
            assert await answer.json() == {"body": None, "uid": os.geteuid()}
        async with client.get("/say") as answer:
            assert (answer.status, await answer.json()) == (422, {"errors": ["no such app", "no other one"]})
        async with client.post("/say", params={"app": "ssh"}, json=[1]) as answer:
            assert (await answer.json())["body"] == [1]
        async with client.post("/say", params={"app": "ssh"}, data=b"{") as answer:
            assert answer.status == 422
    with pytest.raises(ListenError, match="running already"):
        await AdminServer().serve_control(control_app(reload, upgrade, RESOURCES), path)
    await server.stop()
    assert not path.exists()
    await asyncio.sleep(0)


async def test_a_dead_daemons_socket_is_replaced(tmp_path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = AdminServer()
    await server.serve_control(control_app(reload, upgrade, RESOURCES), path)
    await server.stop()


async def test_a_place_where_no_socket_can_be(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for path, why in (
        (tmp_path / "file" / "x.sock", "file exists"),
        (tmp_path / "file", "is not a socket"),
        (tmp_path / "link", "is not a socket"),
        (tmp_path / ("x" * 120), "path too long"),
    ):
        with pytest.raises(ListenError, match=f"^control socket .*{why}"):
            await AdminServer().serve_control(control_app(reload, upgrade, RESOURCES), path)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("is_chosen", [False, True])
async def test_a_folder_that_others_can_write(tmp_path, caplog, is_chosen):
    (folder := tmp_path / "shared").mkdir()
    folder.chmod(0o777)
    server, app = AdminServer(), control_app(reload, upgrade, RESOURCES)
    if is_chosen:
        await server.serve_control(app, folder / "control.sock", is_chosen=True)
        assert "could answer in place of this daemon" in caplog.text
    else:
        with pytest.raises(ListenError, match=r"written by other users \(mode 0777\); remove it, or set"):
            await server.serve_control(app, folder / "control.sock")
        assert list(folder.iterdir()) == []
    await server.stop()
