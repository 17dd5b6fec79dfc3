import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum.control.processes.succession import OPTION, Predecessor, Successor, arguments
from spectrum.core.snapshot import ListenerKey
from spectrum.link.succession import (
    MAX_DESCRIPTORS,
    Ended,
    GivenWorker,
    Handover,
    SuccessionError,
    SupervisorSocket,
    predecessor_hello,
    successor_hello,
)
from spectrum.link.versions import VERSION, Hello
from spectrum.tasks import Tasks
from tests.control.keepers import until


def test_arguments_without_the_succession(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["spectrum", "run", "-c", "x.yaml", OPTION, "7", "--watch"])
    assert arguments() == ["run", "-c", "x.yaml", "--watch"]


@pytest.fixture
def python(tmp_path):
    """A function that makes an interpreter which runs a script instead, with the option's descriptor as `way`."""

    def make(script):
        path = tmp_path / "python"
        start = "import os, signal, socket, sys, time\nway = socket.socket(fileno=int(sys.argv[-1]))\n"
        path.write_text(f"#!{sys.executable}\n{start}{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


READY = 'way.send(b\'{"protocol": 1, "waits": true}\')\n'
TAKES = READY + "while b'given' not in way.recv(70000): pass\n"


async def test_a_successor_that_has_all_and_follows(python):
    successor = Successor()
    script = TAKES + "way.send(b'{\"control\": \"/x\"}'); open(sys.argv[0] + '.left', 'wb').write(way.recv(1000))"
    await successor.start(path := python(script), ["run"])
    assert successor.lives
    assert successor.pid == successor.process.pid
    await successor.give(Handover())
    assert successor.control == "/x"
    await successor.leave()
    left = Path(path + ".left")
    await until(lambda: left.exists() and left.read_bytes() == b'{"left": true}')
    assert await successor.process.wait() == 0
    assert not successor.lives


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ('way.send(b\'{"errors": ["line 1", "line 2"]}\')', "^line 1\nline 2$"),
        ("way.send(b'{\"errors\": 7}')", "^7$"),
        ("way.send(b'{\"protocol\": 99}'); time.sleep(60)", "restart instead"),
        (
            f'way.send(b\'{{"waits": true, "version": {VERSION + 1}, "oldest": {VERSION + 1}}}\'); time.sleep(60)',
            f"speaks version {VERSION + 1} of the link, and this one version {VERSION}.*: restart instead",
        ),
        ('way.send(b\'{"waits": true, "version": []}\'); time.sleep(60)', "no version that is understood"),
        ("way.send(b'{\"protocol\": 1}'); time.sleep(60)", "restart instead"),
        ("way.send(b'garbage'); time.sleep(60)", "not understood: 'garbage'"),
        ("way.send(b'[1]'); time.sleep(60)", "not understood"),
        ("way.send(b'7'); time.sleep(60)", "not understood"),
        ("way.send(b'{' * 65536)", "in the middle of '{{{"),
        ("way.send(b'[' * 50000 + b'}'); time.sleep(60)", "not understood"),
        ("way.send(b'{\"errors\": [\"' + b'x' * 70000)", "in the middle of '{.errors"),
        ("sys.exit(3)", r"ended at once \(exit status 3\); what it printed is in the log of this daemon"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"ended at once \(killed by SIGKILL\)"),
        ("way.close(); time.sleep(60)", r"ended at once \(it still runs, but has closed its link\)"),
        ("time.sleep(60)", "not ready within"),
        ("os.kill(os.getpid(), signal.SIGSTOP)", "not ready within"),
    ],
)
async def test_no_successor(python, script, why, monkeypatch):
    monkeypatch.setattr("spectrum.control.processes.succession.ENDING_S", 0.3 if "sleep" in script else 5.0)
    if why == "not ready within":
        monkeypatch.setattr("spectrum.control.processes.succession.READY_TIMEOUT_S", 1.0)
    before = len(os.listdir("/proc/self/fd"))
    successor = Successor()
    with pytest.raises(SuccessionError, match=why):
        await successor.start(python(script), ["run"])
    assert not successor.lives
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("sys.exit(3)", "ended at once"),
        ("time.sleep(60)", "was not ready to take over within"),
        (TAKES + "time.sleep(60)", "was not ready to take over within"),
        (TAKES + 'way.send(b\'{"errors": ["no room"]}\')', "no room"),
        (TAKES + "way.send(b'?')", "not understood"),
    ],
)
async def test_a_successor_that_gets_so_far_and_no_further(python, script, why, monkeypatch):
    monkeypatch.setattr("spectrum.control.processes.succession.TAKE_TIMEOUT_S", 0.3)
    successor = Successor()
    await successor.start(python(READY + script.removeprefix(READY)), ["run"])
    with socket.socket() as listener:
        listeners = [(0, ListenerKey("127.0.0.1", port), listener.fileno()) for port in range(1, 20000)]
        with pytest.raises(SuccessionError, match=why):
            await successor.give(Handover(listeners=listeners))
    assert not successor.lives


async def test_no_such_interpreter(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SuccessionError, match="no such file"):
        await Successor().start(str(tmp_path / "python"), [])
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("faults", [[], ["one"], ["fault " * 20] * 5000])
async def test_a_refusal_of_any_length(faults):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    predecessor = Predecessor(theirs.detach())
    line = SupervisorSocket(ours)
    (message, _), _ = await asyncio.gather(line.receive(), asyncio.to_thread(predecessor.refuse, faults))
    assert message["errors"] == (faults or ["it refuses, and does not say why"])
    predecessor.refuse(["again"])
    line.close()


@pytest.mark.parametrize("says_hello", [True, False])
async def test_what_is_given_arrives(says_hello):
    before = set(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    files = [os.memfd_create(f"file-{number}") for number in range(3)]
    flows, names = {0: files[1], 1: files[2]}, {"a.example": ("192.0.2.1", "192.0.2.2")}
    keys = [ListenerKey("127.0.0.1", port, "udp") for port in range(1, 2 * MAX_DESCRIPTORS)]
    workers = [GivenWorker(1, 17, False, *files[:2]), GivenWorker(0, 18, True, *files[1:], Hello())]
    listeners = [(port % 2, key, files[2]) for port, key in enumerate(keys)]
    given = Handover(workers, flows, listeners, {"/run/x": files[0]}, names)
    predecessor, line = Predecessor(theirs.detach()), SupervisorSocket(ours)

    async def give():
        assert (await line.receive())[0] == successor_hello()
        await line.send(predecessor_hello() if says_hello else {"of another version": True})
        for message, descriptors in given.messages():
            await line.send(message, descriptors)
        await line.send({"given": True})

    got, _ = await asyncio.gather(predecessor.inherit(), give())

    def names(handover):
        """What it is, with files in place of descriptors."""

        def name(descriptor):
            return os.readlink(f"/proc/self/fd/{descriptor}")

        return (
            [replace(one, channel=name(one.channel), process=name(one.process)) for one in handover.workers],
            {place: name(one) for place, one in handover.flows.items()},
            [(place, key, name(descriptor)) for place, key, descriptor in handover.listeners],
            {where: name(one) for where, one in handover.servers.items()},
            handover.names,
            handover.legacy,
        )

    assert names(got) == names(given)
    line.close()
    predecessor.close()
    for descriptor in set(os.listdir("/proc/self/fd")) - before:
        try:
            os.close(int(descriptor))
        except OSError:  # what listed them
            pass


async def test_a_predecessor_of_a_version_that_gives_nothing():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    predecessor = Predecessor(theirs.detach())
    ours.send(b'{"workers": [1, 2]}')
    ours.shutdown(socket.SHUT_WR)
    assert await predecessor.inherit() == Handover(legacy=[1, 2])
    assert json.loads(ours.recv(100))["protocol"] == 1
    ours.close()
    predecessor.close()


@pytest.mark.parametrize("said", [[], [predecessor_hello()]])
async def test_a_predecessor_that_ended_before_the_hand_over_is_not_followed(said):
    """It was told to stop, and what it had begun would serve in its place."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    predecessor, line = Predecessor(theirs.detach()), SupervisorSocket(ours)
    for message in said:
        await line.send(message)
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(Ended):
        await predecessor.inherit()
    line.close()
    predecessor.close()


LATER = VERSION + 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([{"version": LATER, "oldest": LATER}], f"^the other process speaks version {LATER} of the link"),
        ([{"version": "x"}], "no version that is understood"),
        (
            [
                predecessor_hello(),
                {"worker": {"place": 0, "pid": 17, "relieved": True, "version": LATER, "oldest": LATER}},
            ],
            f"^worker pid 17: the other process speaks version {LATER}",
        ),
    ],
)
async def test_a_predecessor_of_a_version_that_does_not_fit(said, why):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    predecessor, line = Predecessor(theirs.detach()), SupervisorSocket(ours)
    descriptors = [os.memfd_create("x"), os.memfd_create("y")]
    for message in [*said, {"given": True}]:
        await line.send(message, descriptors if "worker" in message else [])
    with pytest.raises(SuccessionError, match=why):
        await predecessor.inherit()
    line.close()
    predecessor.close()


async def test_a_predecessor_that_ends_instead_of_leaving():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    predecessor = Predecessor(theirs.detach())
    ours.close()
    with pytest.raises(SuccessionError, match="it has ended"):
        await predecessor.follow("/run/x")
    predecessor.close()


LIMITED = """
import asyncio, resource, sys
from spectrum.control.processes.succession import Predecessor
from spectrum.link.succession import SuccessionError
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
predecessor = Predecessor(int(sys.argv[1]))
try:
    asyncio.run(predecessor.inherit())
except SuccessionError as exc:
    predecessor.refuse([str(exc)])
"""


async def test_a_successor_at_its_descriptor_limit():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-c", LIMITED, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    line = SupervisorSocket(ours)
    await line.receive()
    with socket.socket() as listener, contextlib.suppress(Ended):  # it may refuse, and end, before the last message
        listeners = [(0, ListenerKey("", port), listener.fileno()) for port in range(100)]
        with suppress(Ended):  # it may refuse before it has been sent everything
            for message, descriptors in Handover(listeners=listeners).messages():
                await line.send(message, descriptors)
    (refusal, _) = await asyncio.wait_for(line.receive(), 10)
    assert "too many open files" in refusal["errors"][0]
    line.close()
    assert process.wait(10) == 0


async def test_signals_are_passed_on(python):
    successor = Successor()
    script = f"signal.signal(1, lambda *_: sys.exit(7))\nsignal.pthread_sigmask(2, ())\n{READY}time.sleep(60)"
    await successor.start(python(script), ["run"])
    successor.signal(signal.SIGHUP)
    assert await successor.process.wait() == 7
    await successor.end()
    successor.signal(signal.SIGTERM)  # to nobody


async def test_a_start_that_is_cancelled_leaves_no_process(python):
    """Else it would take over what the daemon that is told to stop leaves."""
    path = python("open(sys.argv[0] + '.pid', 'w').write(str(os.getpid())); time.sleep(60)")
    started = Tasks().start(Successor().start(path, ["run"]), "start")
    told = Path(path + ".pid")
    await until(lambda: told.exists() and told.read_text())
    started.cancel()
    await asyncio.wait([started])
    assert not Path(f"/proc/{told.read_text()}").exists()


async def test_another_projects_files_among_ours(monkeypatch):
    monkeypatch.setattr("spectrum.kernel.installation.fault", lambda: "another project's files")
    with pytest.raises(SuccessionError, match="another project"):
        await Successor().start(sys.executable, ["run"])
