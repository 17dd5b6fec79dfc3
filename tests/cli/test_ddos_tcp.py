import json

from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon


def test_what_is_off(tmp_path, free_port):
    port = free_port()
    apps = f"{{x: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}"
    text = f"apps: {apps}\ntcp_prefixes: {{a: {{prefix: 192.0.2.0/24}}, b: {{prefix: 192.0.2.9, excluded: true}}}}\n"
    with Daemon(tmp_path, text) as daemon:
        answer = json.loads(spectrum("ddos", "tcp", "--json", "--socket", daemon.socket).output)
        lines = spectrum("ddos", "tcp", "--socket", daemon.socket).output.splitlines()
    assert not answer["enabled"] and answer["components"]["syn_protection"] == {"mode": "disabled", "filters": {}}
    assert lines[:4] == [
        "TCP protection is off",
        "  SYNs and SYN-ACKs: no rule",
        "  other packets: no rule",
        "  destinations: 192.0.2.0/24, without 192.0.2.9/32",
    ]
    assert lines[5].split() == ["packets", "dropped", "monitored", "passed"]
    assert ["not", "found", "0", "0", "0"] in [line.split() for line in lines]
