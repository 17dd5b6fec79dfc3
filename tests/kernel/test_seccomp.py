import subprocess
import sys

import pytest

from spectrum.kernel import seccomp


def run(script):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(autouse=True)
def _present():
    if not seccomp.is_present():
        pytest.fail("libseccomp2 is on every Debian: systemd needs it")


def test_forbidden_calls_fail_and_others_succeed():
    done = run(
        """
import os, socket, threading
from spectrum.kernel.seccomp import forbid
assert forbid()
def refused(call):
    try:
        call()
    except PermissionError:
        return True
    return False
assert refused(lambda: os.execv('/bin/true', ['true']))
assert refused(lambda: os.setuid(0))
assert refused(lambda: os.chroot('/'))
seen = []
thread = threading.Thread(target=lambda: seen.append(refused(lambda: os.execv('/bin/true', ['true']))))
thread.start(); thread.join()
assert seen == [True]
child = os.fork()
if child == 0:
    os._exit(0 if refused(lambda: os.execv('/bin/true', ['true'])) else 1)
assert os.waitpid(child, 0)[1] == 0
left, right = socket.socketpair()
left.send(b'x'); assert right.recv(1) == b'x'
open('/proc/self/status').read()
print('fine')
"""
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_the_list_has_each_call_once_and_this_kernel_knows_all():
    resolve = seccomp._library().seccomp_syscall_resolve_name
    assert [call for call in seccomp.FORBIDDEN if resolve(call.encode()) < 0] == []
    assert len(set(seccomp.FORBIDDEN)) == len(seccomp.FORBIDDEN)
    # Each does, past the filter, what other calls on the list do.
    assert {"io_uring_setup", "fsconfig", "fsmount", "mount_setattr", "open_by_handle_at", "pidfd_send_signal"} <= set(
        seccomp.FORBIDDEN
    )


def test_names_of_other_machines_are_passed_over():
    done = run("from spectrum.kernel.seccomp import forbid; print(forbid(['no_such_call', 'reboot']))")
    assert done.stdout == "True\n"


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(seccomp, "_LIBRARY", "libnothing.so.9")
    assert not seccomp.is_present()
    assert not seccomp.forbid()


def test_of_bpf_what_is_about_elements_of_maps_is_left():
    done = run(
        """
import ctypes, errno
from spectrum.kernel.seccomp import forbid
assert forbid()
libc = ctypes.CDLL(None, use_errno=True)
libc.bpf_of = lambda command: (libc.syscall(321, command, ctypes.create_string_buffer(128), 128), ctypes.get_errno())
allowed = [command for command in (*range(64), 2**31) if libc.bpf_of(command)[1] != errno.EPERM]
print(allowed)
"""
    )
    assert (done.stdout, done.stderr) == ("[1, 2, 3, 24]\n", "")
