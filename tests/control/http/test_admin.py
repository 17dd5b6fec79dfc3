import asyncio
import socket
import stat

import aiohttp
import pytest

from spectrum.control.configuration.actor import RolloutError
from spectrum.control.configuration.reload import Reloaded
from spectrum.control.http.admin import AdminServer, MetricsActor, Upgraded, control_app, metrics_app
from spectrum.core.address import parse_socket_address
from spectrum.kernel.pins import PinError
from spectrum.kernel.sockets import ListenError
from tests.control.plans import change, first


async def render():
    return b"metric 1\n"


async def status():
    return {"pid": 1}


async def upgrade(python):
    return Upgraded(pid=7) if python == "/x" else Upgraded(["no"])


async def reload():
    return Reloaded(errors=["f:1:1: wrong"], changes=[])


def explain(app, client, port):
    if app != "ssh":
        raise ValueError(f"no app {app!r}")
    return [f"{client} port {port}", "done"]


def samples(keys, seconds, count):
    if keys != ["source"]:
        raise ValueError("no such key")
    return [{"source": "192.0.2.1", "packets_per_second": seconds * count}]


class Bound:
    def __init__(self):
        self.bindings = []

    def show(self):
        return {"bindings": [str(one) for one in self.bindings]}

    def change(self, binds, binding):
        if not binds and binding not in self.bindings:
            raise PinError("there is no such binding")
        (self.bindings.append if binds else self.bindings.remove)(binding)


async def test_metrics_and_health(free_port):
    server, ready = AdminServer(), [True]
    where = parse_socket_address(f"127.0.0.1:{free_port()}")
    await server.serve_metrics(metrics_app(render, lambda: ready[0]), where)
    async with aiohttp.ClientSession(f"http://{where}") as client:
        async with client.get("/metrics") as answer:
            assert await answer.read() == b"metric 1\n"
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        for page, code in (("/healthz", 200), ("/readyz", 200), ("/nothing", 404)):
            async with client.get(page) as answer:
                assert answer.status == code
        ready[0] = False
        async with client.get("/readyz") as answer:
            assert answer.status == 503
        async with client.get("/healthz") as answer:
            assert answer.status == 200
    with pytest.raises(ListenError, match="metrics"):
        await AdminServer().serve_metrics(metrics_app(render, lambda: True), where)
    text = f"metrics: {{listen: {where}}}\napps: {{x: {{protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}}}\n"
    other = MetricsActor(AdminServer(), metrics_app(render, lambda: True))
    with pytest.raises(RolloutError, match=f"metrics: {where}: address already in use"):
        await other.prepare(first(text))
    await other.prepare(change(text, text))  # a reload keeps the address
    await server.stop()


async def test_control(tmp_path):
    server, path = AdminServer(), tmp_path / "sub" / "control.sock"
    await server.serve_control(control_app(status, reload, explain, upgrade, samples, Bound()), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with aiohttp.ClientSession("http://x", connector=aiohttp.UnixConnector(str(path))) as client:
        async with client.get("/status") as answer:
            assert await answer.json() == {"pid": 1}
        async with client.post("/reload") as answer:
            assert (answer.status, await answer.json()) == (
                422,
                {"errors": ["f:1:1: wrong"], "changes": [], "restart": []},
            )
        async with client.post("/upgrade", params={"python": "/x"}) as answer:
            assert (answer.status, await answer.json()) == (200, {"errors": [], "pid": 7})
        async with client.post("/upgrade") as answer:
            assert (answer.status, await answer.json()) == (422, {"errors": ["no"], "pid": 0})
        async with client.get("/samples", params={"by": "source", "seconds": "2.5", "count": "2"}) as answer:
            assert await answer.json() == {"top": [{"source": "192.0.2.1", "packets_per_second": 5.0}]}
        for wrong in ({"by": "colour"}, {"by": "source", "seconds": "x"}):
            async with client.get("/samples", params=wrong) as answer:
                assert answer.status == 422
        binding = {"label": "web", "protocol": "tcp", "prefix": "192.0.2.0/24", "port": 0}
        for method, body, code, said in (
            ("GET", None, 200, {"bindings": []}),
            ("POST", binding, 200, {"bindings": ["web tcp 192.0.2.0/24 0"]}),
            ("POST", binding | {"protocol": "sctp"}, 422, {"errors": ["'sctp' is no protocol; write tcp or udp"]}),
            ("POST", [1], 422, None),
            ("POST", {"label": "web"}, 422, {"errors": ["label, protocol, prefix and port are asked for: 'protocol'"]}),
            ("DELETE", binding, 200, {"bindings": []}),
            ("DELETE", binding, 422, {"errors": ["there is no such binding"]}),
        ):
            async with client.request(method, "/bindings", json=body) as answer:
                assert answer.status == code
                assert said is None or await answer.json() == said
        async with client.post("/bindings", data=b"{") as answer:
            assert answer.status == 422
        async with client.get("/explain", params={"app": "ssh", "client": "192.0.2.1", "port": "5"}) as answer:
            assert await answer.json() == {"steps": ["192.0.2.1 port 5", "done"]}
        async with client.get("/explain", params={"app": "x"}) as answer:
            assert (answer.status, await answer.json()) == (422, {"errors": ["no app 'x'"]})
    with pytest.raises(ListenError, match="running already"):
        await AdminServer().serve_control(control_app(status, reload, explain, upgrade, samples, Bound()), path)
    await server.stop()
    assert not path.exists()
    await asyncio.sleep(0)


async def test_a_dead_daemons_socket_is_replaced(tmp_path):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = AdminServer()
    await server.serve_control(control_app(status, reload, explain, upgrade, samples, Bound()), path)
    await server.stop()


async def test_a_place_where_no_socket_can_be(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for path, why in (
        (tmp_path / "file" / "x.sock", "file exists"),
        (tmp_path / "file", "is no socket"),
        (tmp_path / "link", "is no socket"),
        (tmp_path / ("x" * 120), "path too long"),
    ):
        with pytest.raises(ListenError, match=f"^control socket .*{why}"):
            await AdminServer().serve_control(control_app(status, reload, explain, upgrade, samples, Bound()), path)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("is_chosen", [False, True])
async def test_a_folder_that_others_can_write(tmp_path, caplog, is_chosen):
    (folder := tmp_path / "shared").mkdir()
    folder.chmod(0o777)
    server, app = AdminServer(), control_app(status, reload, explain, upgrade, samples, Bound())
    if is_chosen:
        await server.serve_control(app, folder / "control.sock", is_chosen=True)
        assert "could answer in place of this daemon" in caplog.text
    else:
        with pytest.raises(ListenError, match=r"written by other users \(mode 0777\); remove it, or set"):
            await server.serve_control(app, folder / "control.sock")
        assert list(folder.iterdir()) == []
    await server.stop()
