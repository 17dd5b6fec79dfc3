import os
import signal
import socket
import subprocess

import pytest

from spectrum.kernel.peers import Peer, PinnedProcess


def test_who_is_at_the_other_end():
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert Peer.from_socket(ours) == Peer(os.getpid(), os.geteuid())


def test_who_is_trusted():
    assert Peer(1, 0).is_trusted and Peer(1, os.geteuid()).is_trusted
    assert not Peer(1, os.geteuid() + 1).is_trusted


def test_a_process_is_killed_and_its_follower_is_not():
    process = subprocess.Popen(["sleep", "60"])
    pinned = PinnedProcess.open(process.pid)
    pinned.kill()
    assert process.wait(5) == -signal.SIGKILL
    pinned.kill()  # the number may be another one's now
    pinned.close()
    pinned.kill()
    with pytest.raises(OSError):
        PinnedProcess.open(process.pid)
