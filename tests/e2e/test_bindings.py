"""Bindings that lead to an app of ours: any port of a prefix, with the address that was written to in the header."""

import subprocess
import sys

from tests.e2e.hosts import edge, spectrum
from tests.e2e.test_tproxy import ORIGIN, VISIT
from tests.engine.harness import eventually


def test_an_app_behind_bindings(hosts, start, tmp_path):
    filesystem = tmp_path / "bpf"
    filesystem.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpf", filesystem], check=True)
    try:
        hosts.ip("c", "route", "add", "198.51.100.0/24", "via", "10.231.1.1")
        hosts.ip("c", "-6", "route", "add", "2001:db8:5::/64", "via", "fd00:1::1")
        hosts.ip("e", "route", "add", "local", "198.51.100.0/24", "dev", "lo")
        hosts.ip("e", "-6", "route", "add", "local", "2001:db8:5::/64", "dev", "lo")
        start("o", sys.executable, "-c", ORIGIN)
        edge(
            start,
            tmp_path,
            "apps: {web: {protocol: tcp/8080, origin_direct: ['tcp://10.231.2.2:20000'], proxy_protocol: v2}}",
        )
        ours = spectrum("bindings")

        def bindings(*arguments):
            return hosts.call("e", *ours, *arguments, "--bpffs", filesystem)

        bindings("load")
        bindings("bind", "web", "tcp", "198.51.100.0/24", "0")
        bindings("bind", "web", "tcp", "2001:db8:5::/64", "443")
        pid = start.running[-1].pid  # the supervisor's, which owns the sockets
        assert bindings("register", pid, "web", "tcp", "::", "8080") == "web tcp has a socket for ipv4 and ipv6\n"
        eventually(lambda: "ready" in start.printed(), 10)
        visits = ["198.51.100.1,1", "198.51.100.255,65535", "198.51.100.7,8080", "2001:db8:5::9,443"]
        told = hosts.python("c", VISIT, "tcp", 5, *visits).split("\n")[:-1]
        assert told == ["ok"] * len(visits), start.printed()
        assert "ConnectionRefused" in hosts.python("c", VISIT, "tcp", 5, "2001:db8:5::9,444")  # nobody's
        bindings("unbind", "web", "tcp", "198.51.100.0/24", "0")
        assert "ConnectionRefused" in hosts.python("c", VISIT, "tcp", 5, "198.51.100.1,1")
    finally:
        subprocess.run(["umount", filesystem], check=True)
