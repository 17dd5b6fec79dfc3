import os
import socket
import subprocess
import sys

import pytest

from spectrum.kernel.processes import sockets_of

LISTEN = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
)


def test_sockets_of_another_process():
    process = subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        port = int(process.stdout.readline())
        found = list(sockets_of(process.pid))
        assert ("127.0.0.1", port) in [sock.getsockname() for sock in found if sock.family == socket.AF_INET]
        for sock in found:
            sock.close()
        process.stdin.close()
    with pytest.raises(ProcessLookupError):
        next(sockets_of(process.pid))


def test_a_process_without_any():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with process:
        assert list(sockets_of(process.pid)) == []
        process.stdin.close()
    assert os.path.exists("/proc/self/fd")
