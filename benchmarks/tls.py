"""The TLS table: handshakes with and without resumption, and bulk both ways, through a proxy that ends TLS.

Every peer has the same certificate (ECDSA P-256) and speaks in clear to the origin. `tls_load.c` is load and origin.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import HAPROXY_BASE, ORIGIN_PORT, PORT, Starter, haproxy, nginx, nginx_stream, spectrum
from benchmarks.processes import LOAD_CORE, Running
from benchmarks.rounds import Figures, Rows, work_folder

PROCESSES = 24
ROWS: Rows = {
    "full_cpu_us": ("full handshake, TLS 1.3", "µs CPU", True),
    "full_per_s": ("full handshakes, TLS 1.3", "1/s", False),
    "resumed_cpu_us": ("resumed handshake, TLS 1.3", "µs CPU", True),
    "resumed_per_s": ("resumed handshakes, TLS 1.3", "1/s", False),
    "full12_cpu_us": ("full handshake, TLS 1.2", "µs CPU", True),
    "resumed12_cpu_us": ("resumed handshake, TLS 1.2", "µs CPU", True),
    "download_ms_gb": ("download", "ms CPU/GB", True),
    "download_mb_s": ("download", "MB/s", False),
    "upload_ms_gb": ("upload", "ms CPU/GB", True),
    "upload_mb_s": ("upload", "MB/s", False),
}
# Where `origin` puts them, for the configurations.
FILES = Path("/tmp/spectrum-bench-tls")

HAPROXY = f"""{HAPROXY_BASE}frontend front
    bind 127.0.0.1:{PORT} ssl crt {FILES}/both.pem ssl-min-ver TLSv1.2
    default_backend back
backend back
    server origin 127.0.0.1:{ORIGIN_PORT}
"""
NGINX = nginx_stream(
    "1h",
    f"server {{{{ listen 127.0.0.1:{PORT} ssl backlog=4096; proxy_pass 127.0.0.1:{ORIGIN_PORT}; "
    f"ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {FILES}/chain.pem; ssl_certificate_key {FILES}/key.pem; }}}}",
)
SPECTRUM = f"""
certificates:
  bench: {{{{certificate: {FILES}/chain.pem, key: {FILES}/key.pem}}}}
apps:
  front:
    protocol: tcp/{PORT}
    edge_ips: [127.0.0.1]
    origin_direct: [tcp://127.0.0.1:{ORIGIN_PORT}]
    tls: flexible
workers: 1
metrics: {{{{listen: 127.0.0.1:19190}}}}
log: {{{{format: json, sessions_per_second: 0}}}}
control: {{{{socket: {{folder}}/control.sock}}}}
"""
STARTERS: dict[str, Starter] = {"haproxy": haproxy(HAPROXY), "nginx": nginx(NGINX), "spectrum": spectrum(SPECTRUM)}


@contextmanager
def origin() -> Iterator[Path]:
    """Build the load, make a certificate, run the origin, and yield the program."""
    FILES.mkdir(exist_ok=True)
    FILES.chmod(0o755)
    key, chain = FILES / "key.pem", FILES / "chain.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=bench.example", "-addext", "subjectAltName=DNS:bench.example"]
    request = ["openssl", "req", "-x509", *curve, *name, "-keyout", str(key), "-out", str(chain)]
    subprocess.run(request, check=True, capture_output=True)
    (FILES / "both.pem").write_text(chain.read_text() + key.read_text())
    with work_folder("tls") as folder:
        tool = folder / "tls_load"
        source = Path(__file__).with_name("tls_load.c")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(tool), str(source), "-lssl", "-lcrypto"], check=True)
        server = Running([str(tool), "origin", str(ORIGIN_PORT)], LOAD_CORE, folder / "origin.log")
        try:
            server.wait_for_port(ORIGIN_PORT)
            yield tool
        finally:
            server.stop()


def _load(tool: Path, kind: str, seconds: float, processes: int, *version: str) -> tuple[float, float]:
    """Return how much was done, and in how many seconds."""
    command = [str(tool), kind, str(PORT), str(seconds), str(processes), *version]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORE)
    )
    amount, took_s = done.stdout.split()
    return float(amount), float(took_s)


def measure_peer(tool: Path, name: str, seconds: int) -> Figures:
    """Start one proxy, put the loads on it, stop it."""
    figures: Figures = {}
    with work_folder(name) as folder:
        peer = STARTERS[name](folder)
        try:
            peer.wait_for_port(PORT)
            for kind in ("full", "resumed"):
                for suffix, version in (("", ()), ("12", ("1.2",))):
                    _load(tool, kind, 0.3, PROCESSES, *version)
                    before = peer.cpu_s()
                    count, took_s = _load(tool, kind, seconds, PROCESSES, *version)
                    figures[f"{kind}{suffix}_cpu_us"] = (peer.cpu_s() - before) * 1e6 / count
                    figures[f"{kind}{suffix}_per_s"] = count / took_s
            for kind in ("download", "upload"):
                before = peer.cpu_s()
                count, took_s = _load(tool, kind, seconds, 1)
                figures[f"{kind}_ms_gb"] = (peer.cpu_s() - before) * 1e3 / (count / 1e9)
                figures[f"{kind}_mb_s"] = count / 1e6 / took_s
        finally:
            peer.stop()
    return figures
