"""The files of config/examples: each is checked, and each that needs no root is run with a peer."""

import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from spectrum.control.configuration.loader import load_file
from tests.certificates import tls_folder
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.request[0], self.client_address)


class TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def echoes():
    """A TCP and a UDP echo on one port."""
    with TcpServer(("127.0.0.1", 0), Tcp) as tcp, socketserver.ThreadingUDPServer(tcp.server_address, Udp) as udp:
        for server in (tcp, udp):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tcp.server_address[1]
        for server in (tcp, udp):
            server.shutdown()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_right_and_says_what_it_is(path, tmp_path, monkeypatch):
    if path.stem == "mtls":
        monkeypatch.setenv("TLS_FOLDER", tls_folder(tmp_path))
    assert load_file(path).apps
    about = path.read_text().splitlines()[:4]
    assert [line[:2] for line in about[:3]] == ["# "] * 3
    assert "Try: " in about[1]
    assert not about[3].startswith("#")


def at_home(text, origin, free_port):
    """Return an example with all its origins at one port of this machine, and free ports to listen on, and these."""
    ports = {}

    def listen(match):
        first, last = int(match[2]), int(match[3] or match[2])
        port = ports.setdefault((match[1], first), free_port())
        return f"protocol: {match[1]}/{port}" + (f"-{port + last - first}" if match[3] else "")

    text = re.sub(r"preset: (rdp|minecraft)$", r"preset: \1\n    protocol: tcp/1", text, flags=re.MULTILINE)
    text = re.sub(r"protocol: (tcp|udp)/(\d+)(?:-(\d+))?", listen, text)
    text = re.sub(r"(tcp|udp)://192\.0\.2\.\d+:\d+(?!\d*-)", rf"\1://127.0.0.1:{origin}", text)
    text = re.sub(r"address: 192\.0\.2\.\d+, port: \d+", f"address: 127.0.0.1, port: {origin}", text)
    return text, ports


@pytest.mark.parametrize("name", ["ssh", "rdp", "minecraft", "dns", "web-sni", "mmproxy", "behind-another"])
def test_an_example_runs(name, tmp_path, free_port):
    with ExitStack() as opened:
        origin = opened.enter_context(echoes())
        text, ports = at_home((EXAMPLES / f"{name}.yaml").read_text(), origin, free_port)
        opened.enter_context(Daemon(tmp_path, text))
        assert ports
        for (transport, _), port in ports.items():
            kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
            with socket.socket(socket.AF_INET, kind) as client:
                client.settimeout(10)
                client.connect(("127.0.0.1", port))
                header = b"PROXY TCP4 198.51.100.7 127.0.0.1 4000 7100\r\n" if name == "behind-another" else b""
                client.sendall(header + b"hello")
                if transport == "tcp":
                    client.shutdown(socket.SHUT_WR)
                got = b""
                while not got.endswith(b"hello"):
                    got += client.recv(65536)
                assert (b"198.51.100.7" in got) is bool(header)


def test_the_database_pool_with_redis(require, tmp_path, free_port):
    require("redis-server", "redis-cli")
    origin = free_port()
    text, ports = at_home((EXAMPLES / "database-pool.yaml").read_text(), origin, free_port)
    command = ["redis-server", "--port", str(origin), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with Daemon(tmp_path, text):
            ask = ["redis-cli", "-p", str(next(iter(ports.values()))), "ping"]
            eventually(lambda: "PONG" in subprocess.run(ask, capture_output=True, text=True).stdout, 20)
    finally:
        server.terminate()
        server.wait()


def test_ssh_with_openssh(require, tmp_path, free_port):
    require("sshd", "ssh-keygen", "ssh-keyscan")
    origin = free_port()
    text, ports = at_home((EXAMPLES / "ssh.yaml").read_text(), origin, free_port)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host"], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    options = ["Port", "ListenAddress", "HostKey", "PidFile", "UsePAM"]
    values = [origin, "127.0.0.1", tmp_path / "host", "none", "no"]
    lines = [f"{option} {value}\n" for option, value in zip(options, values, strict=True)]
    (tmp_path / "sshd_config").write_text("".join(lines))
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    server = subprocess.Popen([shutil.which("sshd", path=path), "-D", "-e", "-f", tmp_path / "sshd_config"])
    try:
        with Daemon(tmp_path, text):
            ask = ["ssh-keyscan", "-t", "ed25519", "-p", str(next(iter(ports.values()))), "127.0.0.1"]
            key = (tmp_path / "host.pub").read_text().split()[1]
            eventually(lambda: key in subprocess.run(ask, capture_output=True, text=True).stdout, 20)
    finally:
        server.terminate()
        server.wait()


def test_mtls_with_openssl(tmp_path, free_port):
    folder = tls_folder(tmp_path)
    with echoes() as origin:
        text, ports = at_home((EXAMPLES / "mtls.yaml").read_text(), origin, free_port)
        with Daemon(tmp_path, text, env={"TLS_FOLDER": folder}):
            context = ssl.create_default_context(cafile=f"{folder}/clients.pem")
            context.load_cert_chain(f"{folder}/client.pem", f"{folder}/client.key")
            where = ("127.0.0.1", next(iter(ports.values())))
            assert asked(context, where) == b"hello"
            with pytest.raises((OSError, EOFError)):
                asked(ssl.create_default_context(cafile=f"{folder}/clients.pem"), where)


def asked(context, where):
    """Return what comes back over TLS."""
    with context.wrap_socket(socket.create_connection(where, 10), server_hostname="localhost") as client:
        client.sendall(b"hello")
        if not (got := client.recv(100)):
            raise EOFError
        return got


def test_dns_with_knot(require, tmp_path, free_port):
    require("knotd", "kdig")
    origin = free_port()
    text, ports = at_home((EXAMPLES / "dns.yaml").read_text(), origin, free_port)
    (tmp_path / "example.org.zone").write_text("@ 3600 SOA ns admin 1 60 60 60 45\n@ NS ns\nns A 192.0.2.53\n")
    (tmp_path / "knot.conf").write_text(
        f"server:\n  rundir: {tmp_path}\n  listen: 127.0.0.1@{origin}\n"
        f"database:\n  storage: {tmp_path}\nzone:\n  - domain: example.org\n    storage: {tmp_path}\n"
    )
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    server = subprocess.Popen(
        [shutil.which("knotd", path=path), "-c", tmp_path / "knot.conf"], stdout=subprocess.DEVNULL
    )
    try:
        with Daemon(tmp_path, text):
            for (transport, _), port in ports.items():
                ask = ["kdig", f"+{'no' * (transport == 'udp')}tcp", "+short", "-p", str(port)]
                ask += ["@127.0.0.1", "ns.example.org", "A"]
                eventually(
                    lambda ask=ask: "192.0.2.53" in subprocess.run(ask, capture_output=True, text=True).stdout, 20
                )
    finally:
        server.terminate()
        server.wait()
