"""Questions to the store of a daemon as users run it: by Cloudflare's client, by GraphQL, and by our own call."""

import os
import socket
import time
from contextlib import closing, suppress

import httpx
import pytest
from cloudflare import Cloudflare, InternalServerError

from tests.e2e.daemon import Daemon
from tests.e2e.echoes import echoing
from tests.e2e.operator_tools import local_api, make_token
from tests.engine.harness import eventually

SESSIONS = 5


@pytest.mark.skipif(os.geteuid() != 0, reason="its process becomes another user")
def test_questions_about_past_events(tmp_path, free_port):
    listen, port = free_port(), free_port()
    origin = echoing(socket.SOCK_STREAM)
    text = f"""
seccomp: true
zones: {{example.com: {{}}}}
log: {{sessions: false}}
api: {{listen: '127.0.0.1:{listen}', user: nobody}}
analytics: true
apps:
  web: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:{origin}']}}
"""
    # Cold: the API's process imports some of its libraries when they are asked for, and is confined by then.
    with Daemon(tmp_path, text, warm=False) as daemon:
        with closing(local_api(daemon)) as api:
            token = make_token(api, ["Everything Write"], {"com.cloudflare.api.account.*": "*"})
        base = f"http://127.0.0.1:{listen}/client/v4"
        sdk = Cloudflare(api_token=token, base_url=base, max_retries=0, _strict_response_validation=True)
        for _ in range(SESSIONS):
            with socket.create_connection(("127.0.0.1", port), 20) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"
        (zone,), (account,) = sdk.zones.list().result, sdk.accounts.list().result
        (app,) = sdk.spectrum.apps.list(zone_id=zone.id).result

        def told():
            return sdk.spectrum.analytics.events.summaries.get(
                zone_id=zone.id, metrics=["count", "bytesIngress"], dimensions=["appID", "event"]
            )

        def counted():
            with suppress(InternalServerError):  # the store is being opened
                return told().totals["count"]

        eventually(lambda: counted() == SESSIONS, 60)
        (one,) = told().data
        assert (one.dimensions, one.metrics) == ([app.id, "disconnect"], [SESSIONS, 5 * SESSIONS])
        assert told().data_lag < 60
        headers = {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=base, headers=headers, timeout=30) as client:
            body = {"table": "changes", "dimensions": ["*"], "since": time.time() - 600}
            changes = client.post(f"/accounts/{account.id}/analytics/query", json=body).json()["result"]
            names = [column["name"] for column in changes["columns"]]
            assert "configurationStarted" in [row[names.index("event")] for row in changes["rows"]]
            node = 'spectrumEventsAdaptiveGroups(filter: {event: "disconnect"}, limit: 1) { count sum { bytes } }'
            query = f'{{ viewer {{ accounts(filter: {{accountTag: "{account.id}"}}) {{ {node} }} }} }}'
            (found,) = client.post("/graphql", json={"query": query}).json()["data"]["viewer"]["accounts"]
            assert found["spectrumEventsAdaptiveGroups"] == [{"count": SESSIONS, "sum": {"bytes": 10 * SESSIONS}}]
        sdk.close()
