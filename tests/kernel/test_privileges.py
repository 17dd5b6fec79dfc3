"""A process of its own becomes nobody: what it may do then, and what its children may."""

import json
import os
import pwd
import subprocess
import sys

import pytest

from spectrum.kernel.privileges import KEPT

NOBODY = pwd.getpwnam("nobody")
# Printed: its own user, groups, capability sets and no_new_privs; a low port bound, as is another one's file read.
SEEN = """
import json, os, socket
lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
facts = {name: lines[name].split() for name in ("Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")}
def tried(work):
    try:
        work().close()
        return "done"
    except OSError as exc:
        return type(exc).__name__
facts["low port"] = tried(lambda: socket.create_server(("127.0.0.77", 7)))
facts["shadow"] = tried(lambda: open("/etc/shadow"))
facts["own descriptors"] = len(os.listdir("/proc/self/fd")) > 2
print(json.dumps(facts))
"""
BECOME = f"""
import json, os, pwd, socket, subprocess, sys  # before: the library may be root's alone
from spectrum.kernel.privileges import become
become(pwd.getpwnam("nobody"))
exec({SEEN!r})
sys.stdout.flush()
subprocess.run(["/usr/bin/env", "cat", "/proc/self/status"], check=True)
"""


@pytest.fixture(scope="module")
def output():
    done = subprocess.run([sys.executable, "-c", BECOME], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_nobody_with_two_capabilities(output):
    facts = json.loads(output.splitlines()[0])
    assert facts["Uid"] == [str(NOBODY.pw_uid)] * 4
    assert facts["Gid"] == [str(NOBODY.pw_gid)] * 4
    mask = f"{sum(1 << number for number in KEPT):016x}"
    assert [facts[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")] == [[mask]] * 4
    assert facts["NoNewPrivs"] == ["1"]
    assert (facts["low port"], facts["shadow"], facts["own descriptors"]) == ("done", "PermissionError", True)


def test_so_are_its_children(output):
    lines = dict(line.split(":", 1) for line in output.splitlines()[1:])
    mask = f"{sum(1 << number for number in KEPT):016x}"
    assert lines["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert [lines[name].strip() for name in ("CapPrm", "CapEff", "CapBnd")] == [mask] * 3


def test_only_root_can():
    code = f"import os, pwd\nos.setresuid(*[{NOBODY.pw_uid}] * 3)\n" + (
        "from spectrum.kernel.privileges import become\n"
        "try:\n    become(pwd.getpwnam('root'))\nexcept PermissionError as exc:\n    print('refused', exc.errno)\n"
    )
    # Imported before the change of user: the interpreter may be root's alone.
    code = "import spectrum.kernel.privileges\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.split() == ["refused", "1"], done.stderr


def test_the_test_runs_as_root():
    assert os.geteuid() == 0, "the tests above need it"


CONFINE = f"""
import json, os, socket, subprocess
from spectrum.kernel.privileges import CAP_BPF, CAP_NET_ADMIN, confine
confine((CAP_BPF, CAP_NET_ADMIN))
exec({SEEN!r})
"""


def test_root_stays_with_two_capabilities_and_none_for_what_it_starts():
    done = subprocess.run([sys.executable, "-c", CONFINE], capture_output=True, text=True, timeout=30, check=False)
    facts = json.loads(done.stdout)
    mask = f"{1 << 12 | 1 << 39:016x}"
    assert [facts[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")] == [[mask]] * 3 + [["0" * 16]]
    assert (facts["Uid"], facts["NoNewPrivs"], facts["low port"]) == (["0"] * 4, ["1"], "PermissionError")


def test_who_has_no_capabilities_gets_none():
    code = CONFINE.replace("confine((", f"os.setresuid(*[{NOBODY.pw_uid}] * 3)\nconfine((")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    facts = json.loads(done.stdout)
    assert [facts[name] for name in ("CapPrm", "CapEff", "CapAmb")] == [["0" * 16]] * 3, done.stderr
