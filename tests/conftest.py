"""What all tests share: hypothesis profiles, free ports, and the rule about missing peers."""

import atexit
import gc
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Generator
from socket import SOCK_DGRAM, SOCK_STREAM

import pytest
from hypothesis import HealthCheck, settings

from tests.e2e import leftovers
from tests.e2e.namespace import Namespace
from tests.engine.harness import eventually
from tests.surroundings import isolate

# `make test`; by default, as `make cover` and CI run; `make fuzz`.
settings.register_profile("quick", deadline=None, max_examples=30)
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("fuzz", deadline=None, max_examples=20_000, suppress_health_check=list(HealthCheck))
settings.load_profile("default")

# Tests wait for timers and processes more than they compute: two processors have work for four of them.
PROCESSES_PER_PROCESSOR = 2


def pytest_xdist_auto_num_workers() -> int:
    """In how many processes tests run; one where they cannot have namespaces of their own, and would share ports."""
    can_isolate = os.geteuid() == 0 and shutil.which("ip", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    return len(os.sched_getaffinity(0)) * PROCESSES_PER_PROCESSOR if can_isolate else 0


def pytest_configure(config: pytest.Config) -> None:
    """Keep each process of a parallel run out of the others' way, and daemons out of this machine's state."""
    state = tempfile.mkdtemp(prefix="spectrum-state-")
    os.chmod(state, 0o755)  # also of daemons that become another user
    os.environ["STATE_DIRECTORY"] = state
    atexit.register(shutil.rmtree, state, ignore_errors=True)
    leftovers.mark()
    if hasattr(config, "workerinput"):
        isolate()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Take thousands of tests, and what they import, out of garbage collections: each would take half a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left():
    """Fail at the end of the run if a process that a test has started runs on; this fixture ends last."""
    yield
    eventually(lambda: not leftovers.marked(), 10, lambda: f"tests have left processes: {leftovers.marked()}")


@pytest.fixture(scope="session")
def require():
    """A function that skips a test without a program; in CI, where .ci/run installs them all, that is a failure."""

    def check(*programs: str) -> None:
        missing = [
            name for name in programs if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None
        ]
        if missing and os.environ.get("CI"):
            pytest.fail(f"not installed by .ci/run: {', '.join(missing)}")
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)}")

    return check


@pytest.fixture
def jsonschema():
    """The library. It takes two seconds to load: where it is used, not in each process that collects tests."""
    return pytest.importorskip("jsonschema")


@pytest.fixture(scope="session")
def free_port():
    """A function that returns a port nobody listens on over TCP or UDP, each call another one.

    They are below the range from which the kernel gives ports to clients (32768 by default), so that no client or
    origin of another test gets the port before the one who asked for it binds it.
    """
    given = set()

    def pick(address: str = "127.0.0.1") -> int:
        while True:
            port = random.randrange(10_000, 32_000)
            if port not in given and all(_is_free(address, port, kind) for kind in (SOCK_STREAM, SOCK_DGRAM)):
                given.add(port)
                return port

    return pick


def _is_free(address: str, port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as sock:
        try:
            sock.bind((address, port))
        except OSError:
            return False
    return True


@pytest.fixture
def namespace(require):
    """A second host; see `tests.e2e.namespace`."""
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    made = Namespace(f"spt{os.getpid() % 100000}")
    yield made
    made.close()
