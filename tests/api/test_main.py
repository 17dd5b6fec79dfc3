"""The API's own process, with a supervisor's end of its link that takes everything."""

import asyncio
import os
import signal
import socket
import ssl
from pathlib import Path

import httpx
import msgspec
import pytest

from spectrum.api.analytics import stores
from spectrum.api.kinds.permissions import BY_WORD
from spectrum.api.main import NICE, READABLE
from spectrum.kernel.installation import PACKAGE, python
from spectrum.link.api import DECODER, ApiAnswer, ApiAsk, ApiReady, ApiServing, ApiTold
from spectrum.link.bodies import body_of, send
from spectrum.link.channel import Channel
from spectrum.store.tokens import digest, new_token
from tests.certificates import Authority
from tests.store.earlier import first_store

TOKEN = {
    "name": "ci",
    "policies": [
        {
            "effect": "allow",
            "permission_groups": [{"id": BY_WORD["zones:read"].id}],
            "resources": {"com.cloudflare.api.account.*": "*"},
        }
    ],
}
FILE = {"zones": {"example.com": {}}, "apps": {"ssh": {"protocol": "tcp/22"}}}


class SupervisorsEnd:
    """Answers what the process asks."""

    def __init__(self, sock, settings):
        self.serving, self.gone = asyncio.Event(), asyncio.Event()
        self.settings = settings
        self.file = FILE
        self.asked = []
        self.channel = Channel(sock, DECODER, self._received, self.gone.set)

    def tell(self, subject, body=None):
        send(self.channel, ApiTold(subject, msgspec.json.encode(body)))

    def _received(self, message, descriptors):
        match message:
            case ApiReady():
                self.tell("settings", self.settings)
            case ApiServing():
                self.serving.set()
            case ApiAsk():
                body = body_of(message, descriptors)
                self.asked.append((message.method, message.path))
                answer = {"file": self.file, "path": "spectrum.yaml"}
                if message.path == "/changes":
                    groups = msgspec.json.decode(body)["groups"]
                    answer = {"generation": 1, "faults": [[] for _ in groups], "busy": ""}
                send(self.channel, ApiAnswer(message.id, 200, msgspec.json.encode(answer)))


class Process:
    """The process, with a socket of each family."""

    def __init__(self, folder, settings):
        self.path = folder / "api.sock"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        local, tcp = socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))
        local.bind(str(self.path))
        local.listen()
        self.port = tcp.getsockname()[1]
        self.supervisor = SupervisorsEnd(ours, settings)
        self._given = (theirs, local, tcp)
        self._folder = folder

    async def __aenter__(self):
        link, *listeners = (sock.fileno() for sock in self._given)
        command = [*python("spectrum.api"), str(link), str(self._folder / "store"), "-", "-", *map(str, listeners)]
        self.child = await asyncio.create_subprocess_exec(
            *command, pass_fds=(link, *listeners), stderr=asyncio.subprocess.PIPE, cwd=self._folder
        )
        for sock in self._given:
            sock.close()
        async with asyncio.timeout(30):
            await self.supervisor.serving.wait()
        return self

    async def __aexit__(self, *_):
        if self.child.returncode is None:
            self.child.kill()
        await self.child.communicate()
        self.supervisor.channel.close()

    def client(self):
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self.path)), base_url="http://api/client/v4"
        )


async def names(client):
    return [zone["name"] for zone in (await client.get("/zones")).json()["result"]]


async def test_it_serves_until_it_is_told_to_end(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('the current folder is in the path')")
    async with Process(tmp_path, {"seccomp": True, "rate_limit": {"requests": 1000, "per_s": 60}}) as process:
        async with process.client() as client:
            assert await names(client) == ["example.com"]
            made = await client.post("/zones", json={"name": "example.net"})
            assert made.status_code == 200, made.text
            token = (await client.post("/user/tokens", json=TOKEN)).json()["result"]["value"]
            process.supervisor.file = {"zones": {"example.org": {}}}
            process.supervisor.tell("objects", {"file": process.supervisor.file})
            async with asyncio.timeout(10):
                while await names(client) != ["example.net", "example.org"]:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}/client/v4") as client:
            assert (await client.get("/zones")).status_code == 400
            answer = await client.get("/zones", headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 200 and answer.headers["x-ratelimit-limit"] == "1000"
        status = Path(f"/proc/{process.child.pid}/status").read_text().splitlines()
        # Workers have priority on the same processors.
        assert os.getpriority(os.PRIO_PROCESS, process.child.pid) == os.getpriority(os.PRIO_PROCESS, 0) + NICE
        assert "Name:\tspectrum-api" in status
        assert {"CapEff:\t" + "0" * 16, "NoNewPrivs:\t1"} <= set(status)
        process.child.send_signal(signal.SIGINT)  # a terminal's, for all processes of a daemon
        process.child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.child.wait(), 10) == 0


async def test_a_store_of_an_earlier_version_is_upgraded_and_the_last_uses_of_tokens_are_kept(tmp_path):
    first_store(tmp_path / "store/store.sqlite3")
    text = new_token()
    file = {"tokens": {"ops": {"hash": digest(text), "policies": [{"permissions": ["all:read"]}]}}}
    shown = []
    for count in range(2):
        process = Process(tmp_path, {})
        process.supervisor.file = file
        async with process:
            async with process.client() as client:
                shown.append((await client.get("/user/tokens")).json()["result"])
            if count == 0:
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}/client/v4") as client:
                    headers = {"authorization": f"Bearer {text}"}
                    assert (await client.get("/user/tokens", headers=headers)).status_code == 200
            process.child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.child.wait(), 10) == 0
        process.path.unlink()
    assert [[one["name"] for one in tokens] for tokens in shown] == [["ops", "ci"]] * 2
    assert [["last_used_on" in one for one in tokens] for tokens in shown] == [[False, False], [True, False]]
    assert [one.name for one in (tmp_path / "store").glob("*.before-*")] == ["store.sqlite3.before-2"]


async def test_what_was_kept_is_there_after_a_kill(tmp_path):
    for expected in (["example.com"], ["example.com", "example.net"]):
        async with Process(tmp_path, {}) as process:
            async with process.client() as client:
                assert await names(client) == expected
                if len(expected) == 1:
                    assert (await client.post("/zones", json={"name": "example.net"})).status_code == 200
            process.child.kill()
            await process.child.wait()
        process.path.unlink()


async def test_it_ends_with_its_supervisor(tmp_path):
    async with Process(tmp_path, {}) as process:
        process.supervisor.channel.close()
        assert await asyncio.wait_for(process.child.wait(), 10) == 0


async def test_a_certificate_is_taken_up_and_renewed(tmp_path):
    authority = Authority()
    first, second = authority.issue("first.example"), authority.issue("second.example")

    def certificate(one):
        return {"certificate": {"chain": one.chain.decode(), "key": one.key.decode()}}

    async def name():
        context = ssl.create_default_context(cadata=authority.pem.decode())
        context.check_hostname = False
        _, writer = await asyncio.open_connection("127.0.0.1", process.port, ssl=context)
        found = writer.get_extra_info("peercert")["subjectAltName"][0][1]
        writer.close()
        return found

    async with Process(tmp_path, certificate(first)) as process:
        assert await name() == "first.example"
        process.supervisor.tell("settings", {"certificate": {"chain": "no", "key": "no"}})
        process.supervisor.tell("settings", certificate(second))
        async with asyncio.timeout(10):
            while await name() != "second.example":  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_store_that_cannot_be_used_ends_it(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.sqlite3").write_bytes(b"no database" * 1000)
    process = Process(tmp_path, {})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await process.__aenter__()
    _, errors = await process.child.communicate()
    assert process.child.returncode == 1 and b"the API ends" in errors and b"Traceback" not in errors
    process.supervisor.channel.close()


def test_its_own_package_can_be_read_wherever_it_is():
    """A module that is first imported when the process is confined is found, also in a checkout."""
    assert str(PACKAGE) in READABLE and Path(stores.__file__).is_relative_to(PACKAGE)
