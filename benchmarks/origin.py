"""The origin of the measurements: nginx, which reads the PROXY header and answers 12 bytes or a large file; iperf3."""

from pathlib import Path

from benchmarks.peers import IPERF_PORT, ORIGIN_PORT
from benchmarks.processes import LOAD_CORE, Running

# Without a PROXY header.
PLAIN_ORIGIN_PORT = 19003
BULK_BYTES = 100 * 1024 * 1024

CONFIG = f"""
daemon off;
pid {{folder}}/origin.pid;
error_log {{folder}}/origin-error.log;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{{{ worker_connections 19000; }}}}
http {{{{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_header_timeout 1h;
    client_body_temp_path {{folder}}/tmp1;
    proxy_temp_path {{folder}}/tmp2;
    fastcgi_temp_path {{folder}}/tmp3;
    uwsgi_temp_path {{folder}}/tmp4;
    scgi_temp_path {{folder}}/tmp5;
    server {{{{
        # On every address: the balancing table has origins all over 127.0.0.0/8.
        listen {ORIGIN_PORT} proxy_protocol backlog=4096;
        listen {PLAIN_ORIGIN_PORT} backlog=4096;
        location = /bulk {{{{ alias {{folder}}/bulk; }}}}
        location / {{{{ return 200 "hello, world"; }}}}
    }}}}
}}}}
"""


class Origin:
    """The running origin servers."""

    def __init__(self, folder: Path) -> None:
        (folder / "bulk").write_bytes(bytes(BULK_BYTES))
        config = folder / "origin.conf"
        config.write_text(CONFIG.format(folder=folder))
        self._nginx = Running(["nginx", "-c", str(config)], LOAD_CORE, folder / "origin.log")
        self._iperf = Running(
            ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(IPERF_PORT)], LOAD_CORE, folder / "iperf.log"
        )
        self._nginx.wait_for_port(ORIGIN_PORT)
        self._iperf.wait_for_port(IPERF_PORT)

    def stop(self) -> None:
        """Stop the servers."""
        self._nginx.stop()
        self._iperf.stop()
