"""Bindings that lead to an app of ours: any port of a prefix, with the address that was written to in the header."""

import subprocess
import sys

import pytest

from spectrum.cli.client import ask
from tests.e2e.hosts import edge, spectrum
from tests.e2e.test_tproxy import ORIGIN, VISIT
from tests.engine.harness import eventually


@pytest.fixture(autouse=True)
def routes(hosts):
    """Addresses that the edge takes for its own, and that clients write to."""
    hosts.ip("c", "route", "add", "198.51.100.0/24", "via", "10.231.1.1")
    hosts.ip("c", "-6", "route", "add", "2001:db8:5::/64", "via", "fd00:1::1")
    hosts.ip("e", "route", "add", "local", "198.51.100.0/24", "dev", "lo")
    hosts.ip("e", "-6", "route", "add", "local", "2001:db8:5::/64", "dev", "lo")


def visited(hosts, kind, *addresses, wait_s=5):
    return hosts.python("c", VISIT, kind, wait_s, *addresses).split("\n")[:-1]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_bindings_of_the_file(hosts, start, tmp_path, filesystem, kind):
    """Any port, both families; then a reload moves half of the addresses to another app."""
    start("o", sys.executable, "-c", ORIGIN)
    body = f"protocol: {kind}/20000, proxy_protocol: {'v2' if kind == 'tcp' else 'simple'}, "
    leads = f"origin_direct: ['{kind}://10.231.2.2:20000']"
    before = "bindings: [{prefix: 198.51.100.0/24, port: 0}, {prefix: '2001:db8:5::/64', port: 0}]"
    kernel = f"kernel: {{bpffs: {filesystem}}}\n"
    control = edge(start, tmp_path, f"{kernel}apps: {{one: {{{body}{leads}, {before}}}}}")
    eventually(lambda: "ready" in start.printed(), 10)
    visits = [f"{host},{port}" for host in ("198.51.100.1", "198.51.100.200") for port in (1, 20000, 65535)]
    visits += ["2001:db8:5::9,443", "2001:db8:5::9,20000"]
    assert visited(hosts, kind, *visits) == ["ok"] * 8, start.printed()
    half = "bindings: [{prefix: 198.51.100.128/25, port: 0}]"
    (tmp_path / "edge.yaml").write_text(
        f"{kernel}apps: {{one: {{{body}{leads}, {before}}}, other: {{{body}{leads}, {half}}}}}\n"
        f"control: {{socket: {control}}}\n"
    )
    assert ask(control, "POST", "/reload")["errors"] == []
    assert visited(hosts, kind, *visits) == ["ok"] * 8, start.printed()
    apps = {app["name"]: app for app in ask(control, "GET", "/status")["apps"]}
    assert (apps["one"]["sessions_started"], apps["other"]["sessions_started"]) == (8 + 5, 3)
    assert apps["other"]["listens_on"] == "198.51.100.128/25 (bindings)"
    # Killed, it leaves the addresses bound: refused, and nobody else's.
    supervisor, workers = start.running[-1], ask(control, "GET", "/status")["workers"]
    supervisor.kill()
    for worker in workers:
        subprocess.run(["kill", "-9", str(worker["pid"])], check=True)
    supervisor.wait()
    assert "ConnectionRefused" in visited(hosts, kind, "198.51.100.1,20000", wait_s=1)[0]
    assert "bindings: on" in hosts.call("e", *spectrum("kernel", "status"), "--bpffs", filesystem)
    assert "removed" in hosts.call("e", *spectrum("kernel", "detach"), "--bpffs", filesystem)


def test_the_socket_of_an_app_is_registered(hosts, start, tmp_path, filesystem):
    """By hand, and without a word in the file."""
    start("o", sys.executable, "-c", ORIGIN)
    leads = "origin_direct: ['tcp://10.231.2.2:20000'], proxy_protocol: v2"
    edge(start, tmp_path, f"apps: {{web: {{protocol: tcp/8080, {leads}}}}}")

    def bindings(*arguments):
        return hosts.call("e", *spectrum("bindings"), *arguments, "--bpffs", filesystem)

    bindings("load")
    bindings("bind", "web", "tcp", "198.51.100.0/24", "0")
    bindings("bind", "web", "tcp", "2001:db8:5::/64", "443")
    pid = start.running[-1].pid  # the supervisor's, which owns the sockets
    assert bindings("register", pid, "web", "tcp", "::", "8080") == "web tcp has a socket for ipv4 and ipv6\n"
    eventually(lambda: "ready" in start.printed(), 10)
    visits = ["198.51.100.1,1", "198.51.100.255,65535", "198.51.100.7,8080", "2001:db8:5::9,443"]
    assert visited(hosts, "tcp", *visits) == ["ok"] * len(visits), start.printed()
    assert "ConnectionRefused" in visited(hosts, "tcp", "2001:db8:5::9,444")[0]  # nobody's
    bindings("unbind", "web", "tcp", "198.51.100.0/24", "0")
    assert "ConnectionRefused" in visited(hosts, "tcp", "198.51.100.1,1")[0]
