"""Through the daemon with programs that nobody here wrote: OpenSSH, nginx, HAProxy, curl, iperf3, Redis."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.programs import PATH, Programs, run
from tests.engine.harness import eventually


@pytest.fixture
def start(tmp_path):
    """A function that runs a server until the test's end, and waits for its port."""
    programs = Programs(tmp_path)

    def begin(port, *command):
        process = programs.start(*command)

        def listens():
            assert process.poll() is None, programs.output(process)
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        eventually(listens, 10)
        return process

    yield begin
    programs.stop()


def app(name, port, origin, more=""):
    return (
        f"  {name}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{origin}]{more}}}\n"
    )


def start_nginx(start, folder, port, listen="", extra=""):
    """nginx that tells who its client is, by the header if `listen` says proxy_protocol."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    folder.chmod(0o755)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;
events {{ worker_connections 1000; }}
http {{
  access_log off; {temporary}
  server {{
    listen 127.0.0.1:{port} {listen}; root {root};
    location = /who {{
      return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
    }}
    location = /tlv {{ return 200 "$proxy_protocol_addr"; }}
    {extra}
  }}
}}""")
    start(port, "nginx", "-c", config)
    return root


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_reads_our_header(require, start, tmp_path, free_port, version):
    require("nginx", "curl")
    edge, origin = free_port(), free_port()
    root = start_nginx(start, tmp_path, origin, "proxy_protocol")
    payload = os.urandom(20_000_000)
    (root / "file").write_bytes(payload)
    text = "apps:\n" + app("web", edge, origin, f", proxy_protocol: {version}")
    with Daemon(tmp_path, text) as daemon:
        told = run("curl", "-s", "--local-port", "41000-42000", f"http://127.0.0.1:{edge}/who", "-w", " %{local_port}")
        address, port, server, server_port, local_port = told.stdout.split()
        assert (address, server, server_port) == ("127.0.0.1", "127.0.0.1", str(edge))
        assert port == local_port
        run("curl", "-s", "-o", tmp_path / "got", f"http://127.0.0.1:{edge}/file")
        assert hashlib.sha256((tmp_path / "got").read_bytes()).digest() == hashlib.sha256(payload).digest()
        events = daemon.wait_for_events(2)
        assert events[1]["OriginBytes"] > 20_000_000
        assert [event["Reason"] for event in events] == ["client_closed"] * 2


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
def test_haproxy_is_a_trusted_front(require, start, tmp_path, free_port, option):
    """HAProxy in front writes the header, with its own checksum; we read it and tell the origin of HAProxy's client."""
    require("haproxy", "nginx", "curl")
    front, edge, origin = free_port(), free_port(), free_port()
    start_nginx(start, tmp_path, origin, "proxy_protocol")
    config = tmp_path / "haproxy.cfg"
    config.write_text(f"""
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend f
  unique-id-format %{{+X}}o%ci:%cp_%fi:%fp_%Ts
  bind 127.0.0.1:{front}
  default_backend b
backend b
  server s 127.0.0.1:{edge} {option}
""")
    more = ", accept_proxy_protocol: {from: [127.0.0.0/8]}, proxy_protocol: v2"
    with Daemon(tmp_path, "apps:\n" + app("web", edge, origin, more)) as daemon:
        start(front, "haproxy", "-db", "-f", config)
        told = run("curl", "-s", "--interface", "127.0.0.5", f"http://127.0.0.1:{front}/who", "-w", " %{local_port}")
        address, port, server, server_port, local_port = told.stdout.split()
        assert (address, port) == ("127.0.0.5", local_port)
        assert (server, server_port) == ("127.0.0.1", str(front))
        event = next(event for event in daemon.wait_for_events(1) if event["ClientIP"] == "127.0.0.5")
        assert event["ClientPort"] == int(local_port)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_reads_our_header(require, start, tmp_path, free_port, version):
    require("haproxy", "nginx", "curl")
    edge, middle, origin = free_port(), free_port(), free_port()
    start_nginx(start, tmp_path, origin, "proxy_protocol")
    config = tmp_path / "haproxy.cfg"
    config.write_text(f"""
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend f
  bind 127.0.0.1:{middle} accept-proxy
  default_backend b
backend b
  server s 127.0.0.1:{origin} send-proxy
""")
    start(middle, "haproxy", "-db", "-f", config)
    with Daemon(tmp_path, "apps:\n" + app("web", edge, middle, f", proxy_protocol: {version}")):
        told = run("curl", "-s", "--interface", "127.0.0.6", f"http://127.0.0.1:{edge}/who", "-w", " %{local_port}")
        address, port, server, server_port, local_port = told.stdout.split()
        assert (address, port, server, server_port) == ("127.0.0.6", local_port, "127.0.0.1", str(edge))


def test_curl_sends_the_header(require, start, tmp_path, free_port):
    require("nginx", "curl")
    edge, refusing, origin = free_port(), free_port(), free_port()
    start_nginx(start, tmp_path, origin, "proxy_protocol")
    text = "apps:\n" + app("web", edge, origin, ", accept_proxy_protocol: {from: [127.0.0.0/8]}, proxy_protocol: v1")
    text += app("no", refusing, origin, ", accept_proxy_protocol: {from: [192.0.2.0/24]}, proxy_protocol: v1")
    with Daemon(tmp_path, text) as daemon:
        told = run("curl", "-s", "--haproxy-protocol", f"http://127.0.0.1:{edge}/who")
        assert told.stdout.startswith("127.0.0.1 ")
        bare = run("curl", "-s", f"http://127.0.0.1:{edge}/who")
        assert bare.returncode != 0
        untrusted = run("curl", "-s", "--haproxy-protocol", f"http://127.0.0.1:{refusing}/who")
        assert untrusted.returncode != 0
        reasons = [event["Reason"] for event in daemon.wait_for_events(3)]
        assert sorted(reasons) == ["client_closed", "header_invalid", "header_untrusted"]


def test_openssh(require, start, tmp_path, free_port):
    require("sshd", "ssh", "ssh-keygen", "scp")
    edge, origin = free_port(), free_port()
    for key in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key)
    keys = tmp_path / "authorized_keys"
    shutil.copy(tmp_path / "user.pub", keys)
    Path("/run/sshd").mkdir(exist_ok=True)
    config = tmp_path / "sshd_config"
    config.write_text(f"""
Port {origin}
ListenAddress 127.0.0.1
HostKey {tmp_path}/host
AuthorizedKeysFile {keys}
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
""")
    start(origin, shutil.which("sshd", path=PATH), "-D", "-e", "-f", config)
    options = ["-i", tmp_path / "user", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/known"]
    options += ["-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]
    with Daemon(tmp_path, "apps:\n" + app("ssh", edge, origin)) as daemon:
        told = run(
            "ssh", *options, "-p", edge, "127.0.0.1", "echo through; cat >/dev/null; exit 7", input="x" * 100_000
        )
        assert (told.stdout, told.returncode) == ("through\n", 7), told.stderr
        payload = os.urandom(5_000_000)
        (tmp_path / "payload").write_bytes(payload)
        copied = run("scp", *options, "-P", edge, tmp_path / "payload", f"127.0.0.1:{tmp_path}/copied")
        assert copied.returncode == 0, copied.stderr
        assert (tmp_path / "copied").read_bytes() == payload
        assert {event["Status"] for event in daemon.wait_for_events(2)} == {200}


def test_iperf3_both_ways(require, start, tmp_path, free_port):
    require("iperf3")
    edge, origin = free_port(), free_port()
    start(origin, "iperf3", "-s", "-B", "127.0.0.1", "-p", origin)
    with Daemon(tmp_path, "apps:\n" + app("iperf", edge, origin), workers=2):
        for way in ([], ["-R"], ["-P", "8"]):
            done = run("iperf3", "-c", "127.0.0.1", "-p", edge, "-n", "200M", "-J", *way)
            end = json.loads(done.stdout)["end"]
            assert done.returncode == 0, done.stdout
            assert end["sum_sent"]["bytes"] >= 200 * 2**20 * 0.9, end
            # iperf3 stops counting when its sender is done, with what is still under way in eight
            # streams' buffers uncounted; that no byte is lost is shown in test_torture.
            assert end["sum_received"]["bytes"] > 0, end
            time.sleep(0.2)


def test_redis(require, start, tmp_path, free_port):
    require("redis-server", "redis-cli", "redis-benchmark")
    edge, origin = free_port(), free_port()
    start(origin, "redis-server", "--port", origin, "--bind", "127.0.0.1", "--save", "", "--dir", tmp_path)
    with Daemon(tmp_path, "apps:\n" + app("redis", edge, origin)) as daemon:
        assert run("redis-cli", "-p", edge, "set", "k", "v").stdout == "OK\n"
        assert run("redis-cli", "-p", edge, "get", "k").stdout == "v\n"
        done = run(
            "redis-benchmark", "-p", edge, "-n", "20000", "-c", "50", "-P", "16", "-t", "set,get,lrange_100", "-q"
        )
        assert done.returncode == 0
        assert "Error" not in done.stdout + done.stderr
        assert daemon.app("redis")["sessions_started"] >= 52


def test_netcat_half_close(require, start, tmp_path, free_port):
    """`nc -N` ends its half first; the answer that comes afterwards arrives whole."""
    require("nc")
    edge, origin = free_port(), free_port()
    with socket.socket() as server:
        server.bind(("127.0.0.1", origin))
        server.listen()
        with Daemon(tmp_path, "apps:\n" + app("nc", edge, origin)):
            client = subprocess.Popen(
                ["nc", "-N", "127.0.0.1", str(edge)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            connection, _ = server.accept()
            client.stdin.write(b"question")
            client.stdin.close()
            received = b""
            while chunk := connection.recv(100):
                received += chunk
            connection.sendall(received.upper() * 1000)
            connection.close()
            assert client.stdout.read() == b"QUESTION" * 1000
            client.stdout.close()
            assert client.wait(5) == 0
