"""Daemons that start warm: a process that has imported what a daemon imports forks one for each test.

The imports take longer than most tests do, and are the same each time. A fork begins in `spectrum.cli.main`, with
arguments, environment, current folder and standard streams of its own. The processes that the daemon starts in turn
(workers, the API, the helper) are forks of the supervisor, and begin in the `main` of their module. What comes before
that, and what is read while modules are imported, is tested by those who start programs themselves, and by daemons
that are told to be cold.

A fork is on the host (network namespace) of the thread that asks for it, as a program that it starts would be.
"""

import atexit
import concurrent.futures.thread
import ctypes
import functools
import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from tests.surroundings import CLONE_NEWNET, CLONE_NEWNS

ROOT = Path(__file__).parents[2]
# linux/mount.h, sys/mount.h
MS_REC, MS_SLAVE, MNT_DETACH = 0x4000, 1 << 19, 2
# Of the environment, arguments and folder of one daemon.
MAX_REQUEST_BYTES = 200_000
# What a daemon runs in processes of their own, and where their `main` is.
CHILDREN = {
    "spectrum.plane.worker": "spectrum.plane.worker",
    "spectrum.api": "spectrum.api.main",
    "spectrum.detector": "spectrum.detector.main",
    "spectrum.helper": "spectrum.helper.__main__",
}


class Warm:
    """A running `spectrum`, as `subprocess.Popen` has it.

    Args:
        arguments: Of the command.
        out: Its standard output.
        err: Its standard error.
        environment: Its variables; None for those of this process.
        as_ip_netns: Whether /sys is that of its network namespace, in a mount namespace of its own (ip-netns(8)).

    Attributes:
        args: The command that starts another one like it.
        pid: Its process id.
        returncode: Its exit status, negative for a signal; None while it was not seen to end.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        out: IO[bytes],
        err: IO[bytes],
        environment: Mapping[str, str] | None = None,
        as_ip_netns: bool = False,
    ) -> None:
        self.args: list[str] = [sys.executable, "-m", "spectrum", *arguments]
        self.returncode: int | None = None
        self._said, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "arguments": ["spectrum", *arguments],
            "environment": dict(os.environ if environment is None else environment),
            "folder": os.getcwd(),
            "as_ip_netns": as_ip_netns,
        }
        with theirs, open("/proc/thread-self/ns/net") as net:
            descriptors = [out.fileno(), err.fileno(), theirs.fileno(), net.fileno()]
            socket.send_fds(_server(), [json.dumps(request).encode()], descriptors)
        self.pid = int(self._said.recv(32))

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status once it has ended.

        Raises:
            subprocess.TimeoutExpired: If it runs for longer than `timeout` seconds.
        """
        if self.returncode is None:
            if not select.select([self._said], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._said.recv(32))
            self._said.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def can_stand_for(environment: Mapping[str, str]) -> bool:
    """Return whether a fork does what a new process would do that has these variables beside this process's.

    One of them may be read while modules are imported, and coverage.py starts in new processes only.
    """
    return not environment and "COVERAGE_PROCESS_START" not in os.environ


# Where this process is, whichever host the thread is on that starts the server: a host stays while it has a process.
_HOME = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@functools.cache
def _server() -> socket.socket:
    """Return the socket to this process's server, which is started now."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.e2e.warm", str(theirs.fileno()), str(_HOME)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        process = subprocess.Popen(command, pass_fds=[theirs.fileno(), _HOME], cwd=ROOT, **quiet)

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# --- the server ---


def _serve(requests: socket.socket) -> None:
    """Fork for each request until the other end is closed; return in the forks, and there alone."""
    running: dict[int, tuple[int, socket.socket]] = {}
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor != requests.fileno():
                poll.unregister(descriptor)
                _tell_end(descriptor, *running.pop(descriptor))
                continue
            text, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 4)
            if not text:
                os._exit(0)
            out, err, told, net = descriptors
            if (pid := os.fork()) == 0:
                os.dup2(out, 1)
                os.dup2(err, 2)
                request = json.loads(text)
                _enter(net, request.pop("as_ip_netns"))
                for sock in (requests, *(sock for _, sock in running.values())):
                    sock.detach()
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                _become(**request)
                return
            for one in (out, err, net):
                os.close(one)
            ended = os.pidfd_open(pid)
            running[ended] = pid, socket.socket(fileno=told)
            running[ended][1].send(str(pid).encode())
            poll.register(ended, select.POLLIN)


def _tell_end(descriptor: int, pid: int, told: socket.socket) -> None:
    os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    with told, suppress(ConnectionError):  # who started it is gone
        told.send(str(os.waitstatus_to_exitcode(status)).encode())


def _enter(net: int, as_ip_netns: bool = False) -> None:
    """Be in a network namespace from now on; with /sys of it as `ip netns exec` has it (iproute2's namespace.c)."""
    libc = ctypes.CDLL(None, use_errno=True)
    steps: list[tuple[Callable[..., int], tuple[Any, ...]]] = [(libc.setns, (net, CLONE_NEWNET))]
    if as_ip_netns:
        steps += [
            (libc.unshare, (CLONE_NEWNS,)),
            (libc.mount, (b"", b"/", b"none", MS_SLAVE | MS_REC, None)),
            (libc.umount2, (b"/sys", MNT_DETACH)),
            (libc.mount, (b"sysfs", b"/sys", b"sysfs", 0, None)),
        ]
    for call, arguments in steps:
        if call(*arguments):
            raise OSError(ctypes.get_errno(), call.__name__)


def _become(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Go on as a process that was started with these."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = arguments
    subprocess.Popen = _Forked  # type: ignore[misc]
    gc.unfreeze = lambda: None  # the next collection would copy all that is shared with the server


class _Forked(subprocess.Popen[bytes]):
    """A process of this daemon: a fork of it where `python -m` would import once more what is imported here.

    As root alone: programs that are executed have other capabilities than their parent where that is another user.

    Args:
        command: Its program and arguments.
        options: Those of `subprocess.Popen`.
    """

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        python, module = command[:3], CHILDREN.get(command[3]) if len(command) > 3 else None
        if list(python) == [sys.executable, "-P", "-m"] and module and not options.get("env") and os.geteuid() == 0:
            options["preexec_fn"] = functools.partial(_be_child, module, command[4:], options.get("pass_fds", ()))
        super().__init__(command, **options)


def _be_child(module: str, arguments: Sequence[str], inherited: Sequence[int]) -> NoReturn:
    """Do what a new process does that runs a module, with none of what its parent has, and end."""
    gc.freeze()  # the parent's objects stay as they are: one that ends may close a descriptor that is another's here
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    first = 3
    for descriptor in sorted(inherited):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    logging.root.handlers.clear()
    concurrent.futures.thread._threads_queues.clear()  # they are the parent's, or this process itself
    atexit._clear()
    sys.argv = [module, *arguments]
    _run(importlib.import_module(module).main)


def _run(main: Callable[[], None]) -> NoReturn:
    """Run it, and end this process; what is left in memory goes with that, and is not taken apart before."""
    status = 0
    try:
        main()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        if isinstance(exc.code, str):
            print(exc.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _import_all() -> None:
    """Import what a daemon imports until it serves, make what it makes once, and keep collections from copying it."""
    from spectrum.cli import commands, serving  # noqa: F401
    from spectrum.core.configuration.config import Config

    for module in CHILDREN.values():
        importlib.import_module(module)

    Config.model_rebuild()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _enter(int(sys.argv[2]))
    os.close(int(sys.argv[2]))
    _import_all()
    _serve(socket.socket(fileno=int(sys.argv[1])))

    from spectrum.cli.main import main

    _run(main)
