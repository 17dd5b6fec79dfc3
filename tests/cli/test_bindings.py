"""The commands, in a network namespace of their own, and what is said of a wrong line."""

import pytest

from tests.cli.harness import spectrum
from tests.kernel.isolation import filesystem, isolated

__all__ = ["filesystem"]

COMMANDS = """
import subprocess, sys
from tests.cli import harness

LISTEN = "import socket; s = socket.create_server(('127.0.0.1', 8080)); print('ready', flush=True); input()"

def spectrum(*arguments, given=None, code=0):
    done = harness.spectrum(*arguments, given=given)
    print(done.output, end="")
    assert done.exit_code == code, (arguments, done)

spectrum("kernel", "status")
spectrum("bindings", "load")
lines = "# services\\nweb tcp 192.0.2.0/24 443\\nweb tcp 2001:db8::/32 0 # any\\n\\n"
spectrum("bindings", "apply", "-", given=lines)
spectrum("bindings", "bind", "dns", "udp", "192.0.2.53/32", "53")
listener = subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
with listener:
    listener.stdout.readline()
    spectrum("bindings", "register", listener.pid, "web", "tcp", "127.0.0.1", 8080)
    spectrum("bindings", "list")
    spectrum("bindings", "register", listener.pid, "web", "tcp", "127.0.0.1", 8081, code=1)
    spectrum("bindings", "unbind", "web", "tcp", "192.0.2.0/24", "443")
    spectrum("bindings", "load")
    spectrum("bindings", "list", "--json")
    spectrum("kernel", "status")
    listener.stdin.close()
spectrum("kernel", "detach")
spectrum("kernel", "detach")
spectrum("bindings", "list", code=1)
"""


def test_the_commands(filesystem, monkeypatch):
    monkeypatch.setenv("SPECTRUM_BPFFS", str(filesystem))
    said = isolated(COMMANDS.replace("\\\\", "\\"))
    for line in (
        f"bindings: off: the program is not loaded (in {filesystem})\nfilter: off: the program is not loaded",
        "the program is not loaded; run `spectrum bindings load`",
        "the program is attached",
        "2 bound, 0 unbound",
        "web tcp has a socket for ipv4",
        "dns udp 192.0.2.53/32 53  (no socket: refused)\nweb tcp 192.0.2.0/24 443\nweb tcp 2001:db8::/32 0  (no socket",
        "has no tcp socket on 127.0.0.1 port 8081",
        "the program was replaced",
        '"sockets": [\n        "ipv4"\n      ]',
        "bindings: on (v2): 2 bindings of 2 services, 1 without a socket",
        "no program of Spectrum is in the kernel",
    ):
        assert line in said, (line, said)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["web", "sctp", "192.0.2.0/24", "1"], "'sctp' is not a protocol; write tcp or udp"),
        (["web", "tcp", "192.0.2.1/24", "1"], "has host bits set"),
        (["web", "tcp", "192.0.2.0/24", "x"], "'x' is not a port; write 1 to 65535, or 0 for any"),
        (["web", "tcp", "192.0.2.0/24", "65536"], "'65536' is not a port"),
    ],
)
def test_a_wrong_binding_is_reported(arguments, says, tmp_path):
    done = spectrum("bindings", "bind", *arguments, "--bpffs", tmp_path)
    assert done.exit_code == 2
    assert says in done.output


def test_a_wrong_line_is_reported_with_its_number(tmp_path):
    for text, says in (("web tcp 192.0.2.0/24\n", "1: expected LABEL"), ("\nweb tcp x 1\n", "2: 'x'")):
        done = spectrum("bindings", "apply", "-", "--bpffs", tmp_path, given=text)
        assert done.exit_code == 1
        assert says in done.output
