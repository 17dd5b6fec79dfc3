"""The process of a daemon; users are in tests/e2e/test_user.py."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spectrum.control.daemon import NICE


def nice(pid):
    return os.getpriority(os.PRIO_PROCESS, pid)


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def test_shared_listeners_are_warned_of(tmp_path, free_port):
    """With fewer descriptors than listeners times workers, all workers share one socket each, and both serve."""
    ports = [free_port() for _ in range(100)]
    apps = "".join(
        f"  a{p}: {{protocol: tcp/{p}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}\n" for p in ports
    )
    path = tmp_path / "f.yaml"
    path.write_text(f"apps:\n{apps}control: {{socket: {tmp_path}/control.sock}}\n")
    shell = f"ulimit -n 300; exec {sys.executable} -m spectrum run -c {path} --workers 2"
    daemon = subprocess.Popen(["sh", "-c", shell], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        told = ""
        while "serving 100 apps" not in told:
            told += (line := daemon.stderr.readline())
            assert line, told
        assert "workers share each listener" in told
        # The loop's thread gives way to workers, which it has started.
        own = nice(os.getpid())
        assert nice(daemon.pid) == min(own + NICE, 19)
        assert [nice(pid) for pid in children(daemon.pid)] == [own, own]
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", ports[50]), 5) as sock:
            sock.recv(1)  # served: there is no origin
    finally:
        daemon.terminate()
        daemon.communicate(timeout=10)
    assert daemon.returncode == 0
