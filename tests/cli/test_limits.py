import json

from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon


def test_the_limit_nearest_to_its_maximum_is_first(tmp_path, free_port):
    text = (
        "limits: {sessions: 1000}\napps: {x: {"
        f"protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]}}}}\n"
    )
    with Daemon(tmp_path, text) as daemon:
        answer = json.loads(spectrum("limits", "--json", "--socket", daemon.socket).output)
        heading, *lines = spectrum("limits", "--socket", daemon.socket).output.splitlines()
    found = {(one["limit"], one["of"]): one for one in answer["limits"]}
    assert {("descriptors", "supervisor"), ("descriptors", "worker-0"), ("sessions", "node")} < found.keys()
    assert found["descriptors", "worker-0"]["used"] > 5
    assert found["sessions", "node"] == {
        "limit": "sessions", "of": "node", "used": 0, "maximum": 1000, "setting": "limits.sessions", "share": 0.0
    }  # fmt: skip
    shares = [one["share"] for one in answer["limits"]]
    assert shares == sorted(shares, reverse=True)
    assert heading.split() == ["limit", "of", "used", "maximum", "share", "raised", "by"]
    assert ["sessions", "node", "0", "1000", "0.0%", "limits.sessions"] in [line.split() for line in lines]
