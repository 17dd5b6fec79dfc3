"""The objects of the API by the `spectrum` command, on a running daemon."""

import json
import socket
from socket import SOCK_STREAM

from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon
from tests.e2e.echoes import echoing


def test_objects_are_made_shown_changed_and_deleted(tmp_path, free_port):
    text = f"zones: {{example.com: {{}}}}\napi: {{listen: 127.0.0.1:{free_port()}, user: nobody}}"
    port, origin = free_port(), echoing(SOCK_STREAM)

    def run(*words):
        result = spectrum(*words, "--api-socket", tmp_path / "api.sock")
        assert result.exit_code == 0, result.output
        return result.output

    with Daemon(tmp_path, text):
        run("monitor", "set", "echo", "type=tcp", "interval=5")
        run("monitor", "set", "slow", "type=tcp", "interval=60")
        run("group", "set", "both", 'members=[{"monitor_id": "echo", "must_be_healthy": true}, "slow"]')
        assert run("group", "list") == "both  echo, slow\n"
        run(
            "pool",
            "set",
            "eu",
            "monitor_group=both",
            f'origins=[{{"name": "a", "address": "127.0.0.1", "port": {origin}}}]',
        )
        run("balancer", "set", "lb.example.com", "default_pools=eu", "fallback_pool=eu")
        run("app", "set", "a.example.com", f"protocol=tcp/{port}", "load_balancer=lb.example.com", "ip_firewall=true")
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"
        assert run("app", "list").startswith(f"a.example.com  tcp/{port}")
        assert json.loads(run("pool", "show", "eu", "--json"))["origins"][0]["port"] == origin
        run("list", "set", "banned", "kind=ip")
        run("rule", "set", "$banned", "mode=block")
        assert run("rule", "list").split() == ["$banned", "block", "ip_range"]
        refused = spectrum("pool", "delete", "eu", "--api-socket", tmp_path / "api.sock")
        assert "pool is referenced by other objects: load_balancers lb.example.com" in refused.output
        for what, name in (
            ("rule", "$banned"),
            ("list", "banned"),
            ("app", "a.example.com"),
            ("balancer", "lb.example.com"),
            ("pool", "eu"),
            ("group", "both"),
            ("monitor", "echo"),
            ("monitor", "slow"),
        ):
            assert run(what, "delete", name) == f"deleted {what} {name}\n"
        assert run("pool", "list") == ""
