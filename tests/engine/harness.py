"""An engine on its own: a recording handler, listeners on the loopback, and a loop that runs it for a while."""

import contextlib
import ctypes
import errno
import os
import select
import socket
import struct
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from spectrum.engine.loop import Loop
from spectrum.engine.relay import Relay
from spectrum.engine.target import Target

LOOPBACK = b"\x7f\0\0\1"
# A machine that is busy with other things takes seconds for what else takes none.
PATIENCE_S = 15.0


class Recorder:
    """A handler that connects every session to its targets, and keeps what it hears."""

    def __init__(self, targets=(), header=b"", connect_timeout_ms=2000, idle_timeout_ms=0, busy_poll_us=0, **options):
        # For `exhausted`, one after the other; they count as tries.
        self.others = []
        self.targets = tuple(targets)
        self.header_bytes = header
        self.timeouts = (connect_timeout_ms, idle_timeout_ms)
        self.sessions = []
        self.headers = []
        self.failures = []
        self.passed_over, self.refused = [], []
        self.exhaustions = []
        self.reports = []
        self.begins = []
        self.sums = []
        self.records = []
        self.faults = []
        self.loop = Loop(busy_poll_us=busy_poll_us)
        self.relay = Relay(self.loop, self, **options)

    def accepted(self, batch):
        self.sessions.extend(batch)
        for name, *_ in batch:
            self.relay.connect(name, self.targets, self.header_bytes, *self.timeouts, 1 + len(self.others))

    def gone(self, batch):
        self.passed_over.extend(one[:3] for one in batch if not one[3])
        self.refused.extend(one[:3] for one in batch if one[3])

    def header(self, name, listener, data, *addresses):
        self.headers.append((name, data))

    def attempt_failed(self, name, listener, target, error):
        self.failures.append((target.port, error))

    def exhausted(self, name, listener, target, client, client_port):
        self.exhaustions.append((target.port, client))
        return (self.others.pop(0),)

    def ended(self, batch):
        self.reports.extend(batch)

    def begun(self, listener, count):
        self.begins.append((listener, count))

    def summed(self, batch):
        self.sums.extend(batch)

    def recorded(self, count, records):
        lines = records.splitlines()
        assert len(lines) == count
        self.records.extend(lines)

    def broken(self, error):
        self.faults.append(error)

    def outcomes(self):
        return [(report[1], report[2]) for report in self.reports]

    @contextmanager
    def running(self, first=None):
        """Run the engine in a thread, which calls `first` before."""
        with in_thread(self.loop, first):
            yield self
        self.relay.tell_sums()
        assert self.faults == []


def watched(loop):
    """What an engine's epoll set has, by descriptor: the token (proc_pid_fdinfo(5))."""
    lines = Path(f"/proc/self/fdinfo/{loop.fileno()}").read_text(encoding="ascii").splitlines()
    words = [line.split() for line in lines if line.startswith("tfd:")]
    return {int(line[1]): int(line[5], 16) for line in words}


class _Comparison(ctypes.Structure):
    """libseccomp's scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("unused", ctypes.c_uint64),
    )


def refuse_watches():
    """Let the kernel watch nothing more for this thread, as at fs.epoll.max_user_watches; others are not concerned."""
    allow, fail, equals, add = 0x7FFF0000, 0x00050000 | errno.ENOSPC, 4, 1
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(allow))
    number = library.seccomp_syscall_resolve_name(b"epoll_ctl")
    assert library.seccomp_rule_add_array(context, fail, number, 1, ctypes.byref(_Comparison(1, equals, add))) == 0
    assert library.seccomp_load(context) == 0
    library.seccomp_release(context)


def unwatch(loop, sock):
    """Take a descriptor out of an engine's epoll set behind its back."""
    with select.epoll.fromfd(os.dup(loop.fileno())) as epoll:
        epoll.unregister(sock)


class MemoryFile(int):
    """The descriptor of a memory file, closed when nobody has it any more."""

    def __new__(cls):
        return super().__new__(cls, os.memfd_create("test"))

    def __del__(self):
        os.close(self)


@contextmanager
def in_thread(loop, first=None):
    """Run an engine's loop in a thread, as a worker's host loop would; it calls `first` before."""
    poll = select.poll()
    poll.register(loop.fileno(), select.POLLIN)

    def turn():
        if poll.poll(20):
            loop.process()

    with repeating(turn, first):
        yield


@contextmanager
def repeating(step, first=None):
    """Take a step, which never waits long, again and again in a thread, after `first`."""
    stop = threading.Event()

    def run():
        if first is not None:
            first()
        while not stop.is_set():
            step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def listening(backlog=128, host="127.0.0.1"):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.bind((host, 0))
    sock.listen(backlog)
    sock.settimeout(PATIENCE_S)
    return sock


def port_of(sock):
    return sock.getsockname()[1]


def target(sock_or_port, **options):
    port = sock_or_port if isinstance(sock_or_port, int) else port_of(sock_or_port)
    return Target(LOOPBACK, port, "127.0.0.1", **options)


def add(recorder, sock, address=LOOPBACK):
    sock.setblocking(False)
    return recorder.relay.add_listener(sock.fileno(), 0, address, port_of(sock))


def client(sock, **options):
    connected = socket.create_connection(("127.0.0.1", port_of(sock)), PATIENCE_S, **options)
    connected.settimeout(PATIENCE_S)
    return connected


def eventually(condition, timeout_s=PATIENCE_S, explain=lambda: "it did not happen in time"):
    """Wait for a condition, and ask less often the longer it takes: a daemon's answer costs some milliseconds."""
    began = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began
        assert waited_s < timeout_s, explain()
        time.sleep(min(max(waited_s / 10, 0.005), 0.05))


def read_all(sock):
    data = b""
    while chunk := sock.recv(1 << 16):
        data += chunk
    return data


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def engine_socket(address):
    """Return the socket of this process that is bound to an address and connected."""
    for name in os.listdir("/proc/self/fd"):
        if not Path(f"/proc/self/fd/{name}").is_socket():
            continue
        sock = socket.socket(fileno=os.dup(int(name)))
        with contextlib.suppress(OSError):
            sock.getpeername()
            if sock.getsockname() == address:
                return sock
        sock.close()
    raise AssertionError(f"no socket at {address}")


def closed_port():
    with listening() as sock:
        return port_of(sock)


def full_listener():
    """A listening socket whose queue is full: connects to it neither succeed nor fail."""
    sock = listening(backlog=0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port_of(sock)))
        fillers.append(filler)
    return sock, fillers


def narrow_client(edge):
    """A client whose kernel takes little before it is read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(5)
    sock.connect(("127.0.0.1", port_of(edge)))
    return sock


def feed(origin, size):
    """Accept at an origin and send `size` bytes as far as there is room, in the background."""
    sock, _ = origin.accept()
    thread = threading.Thread(target=lambda: suppressed(lambda: sock.sendall(bytes(size))))
    thread.start()
    return sock, thread


def suppressed(call):
    with contextlib.suppress(OSError):
        call()


# linux/include/uapi/asm-generic/socket.h
SO_GET_FILTER = 26


def is_filtered(sock):
    """Return whether a socket has a program of classic BPF."""
    # It counts instructions, of 8 bytes each, and 4,096 at most.
    found, length = ctypes.create_string_buffer(8 * 4096), ctypes.c_uint(4096)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(sock.fileno(), socket.SOL_SOCKET, SO_GET_FILTER, found, ctypes.byref(length)) < 0:
        raise OSError(ctypes.get_errno(), "SO_GET_FILTER")
    return length.value > 0
