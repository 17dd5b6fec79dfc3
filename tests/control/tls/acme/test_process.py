import asyncio
import socket

import msgspec
import pytest

from spectrum.control.tls.acme import process
from spectrum.control.tls.acme.messages import ChallengeAnswer, Failed, Issued, OrderRequest
from spectrum.control.tls.acme.process import OrderProcess

WORK = OrderRequest("n", "a", "/f", False, (), "", "", "", "", "", "", "", "", "", 0, "", 0.0)
PROGRAM = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as sock, sock.makefile("rwb") as lines:
    lines.readline()
    {}
"""
SAYS = "lines.write({!r}); lines.flush()"


@pytest.fixture
def run(monkeypatch):
    """A function that runs an `OrderProcess` whose process is another program."""

    async def start(body, show=None, **options):
        async def nobody(answer):
            raise AssertionError(answer)

        command = [process.python("x")[0], "-c", PROGRAM.format(body)]
        monkeypatch.setattr(process, "python", lambda module: command)
        return await OrderProcess(show or nobody, **options).run(WORK)

    return start


def line(message):
    return msgspec.json.encode(message) + b"\n"


async def test_what_became_of_it(run):
    assert await run(SAYS.format(line(Issued(1.0, 2.0)))) == Issued(1.0, 2.0)


async def test_challenges_are_answered_in_turn(run):
    shown = []

    async def show(answer):
        shown.append(answer)
        if len(shown) == 2:
            raise OSError("port 80 is taken")

    asks = SAYS.format(line(ChallengeAnswer("http-01", "t", "c")))
    body = f"{asks}; one = lines.readline(); {asks}; two = lines.readline()\n    "
    body += 'lines.write(b\'{"type": "Failed", "why": "\' + one.strip() + two.strip() + b\'"}\\n\')'
    assert await run(body, show) == Failed("port 80 is taken")
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit(3)", "the process of the order ended with status 3"),
        (SAYS.format(b"no JSON\n"), "the process of the order: JSON is malformed"),
        ("import time; time.sleep(60)", "the process of the order did not finish within 0.5 s"),
    ],
)
async def test_a_process_that_says_nothing_of_use(run, body, why):
    found = await run(body, deadline_s=0.5 if "sleep" in body else 30)
    assert isinstance(found, Failed) and found.why.startswith(why), found


async def test_it_is_killed(monkeypatch):
    command = [process.python("x")[0], "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(process, "python", lambda module: command)
    one = OrderProcess(None)
    one.kill()
    running = asyncio.get_running_loop().create_task(one.run(WORK))
    while one._child is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    one.kill()
    found = await asyncio.wait_for(running, 10)
    assert isinstance(found, Failed)


async def test_there_is_no_process(monkeypatch):
    def full():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(process, "python", lambda module: ["/nowhere/python"])
    found = await OrderProcess(None).run(WORK)
    assert found == Failed("no process for the order: No such file or directory")
    monkeypatch.setattr(socket, "socketpair", full)
    found = await OrderProcess(None).run(WORK)
    assert found == Failed("no process for the order: Too many open files")
