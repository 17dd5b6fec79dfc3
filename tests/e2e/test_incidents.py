"""Incidents of docs/incidents.md, found with what its pages look at: status, explain, records."""

import socket
import ssl
import threading

import pytest

from spectrum.cli.client import ask
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually


def answer(listener):
    """Say PONG to whoever comes, until the listener is closed."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client:
            client.sendall(b"PONG\r\n")


@pytest.fixture
def edge(tmp_path, free_port):
    """A daemon with an origin that accepts and says nothing, beside one that answers; and an app that has one name."""
    cache, shop = free_port(), free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as good:
        threading.Thread(target=answer, args=(good,), daemon=True).start()
        dead, port = silent.getsockname()[1], good.getsockname()[1]
        text = f"""
monitors: {{cache: {{type: tcp, interval: 0.2s, timeout: 0.2s, retries: 0}}}}
pools:
  cache:
    monitor: cache
    origins:
      - {{name: a, address: 127.0.0.1, port: {port}}}
      - {{name: b, address: 127.0.0.1, port: {dead}, weight: 0.25}}
load_balancers: {{cache: {{default_pools: [cache]}}}}
apps:
  cache:
    {{protocol: tcp/{cache}, edge_ips: [127.0.0.1], load_balancer: cache, limits: {{client: {{new_per_second: 1}}}}}}
  shop: {{protocol: tcp/{shop}, edge_ips: [127.0.0.1], sni: [shop.example], origin_direct: ["tcp://127.0.0.1:{port}"]}}
"""
        with Daemon(tmp_path, text) as daemon:
            yield daemon, text, cache, shop


def test_incidents(edge):
    daemon, text, cache, shop = edge

    def origins():
        (pool,) = daemon.status()["pools"]
        return {origin["name"]: origin for origin in pool["origins"]}

    def explained():
        return "\n".join(ask(daemon.socket, "GET", "/explain?app=cache&client=127.0.0.1&port=0")["steps"])

    def record(reason):
        return next((event for event in daemon.events() if event.get("Reason") == reason), None)

    # A wrong weight: shares are told.
    eventually(lambda: "a 80%, b 20%" in explained(), explain=explained)

    # A wrong name: it is in the record.
    context = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", shop)) as sock, pytest.raises(OSError):
        context.wrap_socket(sock, server_hostname="shpo.example")
    eventually(lambda: record("sni_unknown"))
    assert record("sni_unknown")["ClientTlsClientHelloServerName"] == "shpo.example"

    # A rate limit: the record has it, with its value.
    kept = []
    eventually(lambda: kept.append(socket.create_connection(("127.0.0.1", cache))) or record("client_rate"))
    assert record("client_rate")["Limit"] == "app: client_new_per_second 1"
    for client in kept:
        client.close()

    # An origin is half dead: a monitor without a question does not see it, one with a question does.
    assert [origin["health"] for origin in origins().values()] == ["healthy", "healthy"]
    daemon.write(text.replace("type: tcp,", 'type: tcp, send: "PING\\r\\n", expect: PONG,'))
    assert daemon.reload() == []
    eventually(lambda: "b: no answer within 0.2 s" in explained(), explain=explained)
    assert {name: origin["health"] for name, origin in origins().items()} == {"a": "healthy", "b": "down"}
