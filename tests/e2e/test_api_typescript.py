"""An operator's day with Cloudflare's official TypeScript client, which scripts/setup installs where there is npm."""

import json
import os
import subprocess
from pathlib import Path
from socket import SOCK_STREAM

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.echoes import echoing
from tests.e2e.operator_tools import local_api, make_token

pytest.importorskip("fastapi")
DAY = Path(__file__).with_name("operators_day.js")


CLIENTS = Path(__file__).parents[2] / ".venv/node/node_modules"


def test_an_operators_day(require, tmp_path, free_port):
    require("node", "npm")
    if not (CLIENTS / "cloudflare").is_dir() and not os.environ.get("CI"):
        pytest.skip("not installed: rm .venv/ready, then make setup")
    listen, port = free_port(), free_port()
    text = f"zones: {{example.com: {{}}}}\napi: {{listen: 127.0.0.1:{listen}, user: nobody}}\nlog: {{sessions: false}}"
    with Daemon(tmp_path, text, workers=1) as daemon:
        api = local_api(daemon)
        token = make_token(api, ["Everything Write"], {"com.cloudflare.api.account.*": "*"})
        api.close()
        done = subprocess.run(
            ["node", str(DAY), str(echoing(SOCK_STREAM)), str(port)],
            env=os.environ
            | {
                "NODE_PATH": str(CLIENTS),
                "CLOUDFLARE_API_TOKEN": token,
                "CLOUDFLARE_BASE_URL": f"http://127.0.0.1:{listen}/client/v4",
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("changed")[0].startswith("tcp://127.0.0.1:")
    assert found == {
        "verified": "active",
        "read": "lb.example.com",
        "listed": 1,
        "wrong": [400, 13002, "/protocol"],
        "used": [400, 1005, None],
        "rules": ["198.51.100.7"],
        "rule": True,
        "items": ["192.0.2.7"],
        "packs": 0,
        "left": 0,
    }
