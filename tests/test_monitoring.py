"""The dashboard and the alerts in config/: promtool's verdict, and whether all that they ask for is really exported."""

import json
import re
import socket
import subprocess
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from spectrum.control.ddos.attack_metrics import AttackCounts, attack_metrics
from spectrum.control.filter.filter_metrics import filter_metrics
from spectrum.core.filter import Filter
from spectrum.kernel.filter.names import OTHERS
from tests.certificates import Authority
from tests.core.ddos.attack_samples import attack, event
from tests.e2e.daemon import Daemon

CONFIG = Path(__file__).parents[1] / "config"
ALERTS = CONFIG / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((CONFIG / "grafana" / "spectrum.json").read_text())
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
# What Prometheus itself adds to each series.
TARGET = {"job", "instance"}
# They come with an https monitor, names that are looked up, and datagrams.
RARE = {
    "spectrum_origin_certificate_not_after_timestamp_seconds": {"pool", "origin"},
    "spectrum_name_lookups_total": {"name", "type", "result"},
    "spectrum_origin_rtt_seconds": {"pool", "origin"},
    "spectrum_datagrams_dropped_total": {"app", "reason"},
    "spectrum_api_up": set(),
    "spectrum_analytics_lag_seconds": set(),
    "spectrum_analytics_rows_lost_total": set(),
    "up": set(),
}


def panels():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def expressions():
    yield from panels()
    yield from (variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable)
    yield from (annotation["expr"] for annotation in DASHBOARD["annotations"]["list"])
    yield from (rule["expr"] for rule in RULES)


def asked():
    """Yield each metric that is asked for, with the labels that its series are chosen by."""
    for expression in expressions():
        for name, matchers in re.findall(r"\b((?:spectrum|process)[_:][\w:]+|up\b)(?:\{([^}]*)\})?", expression):
            yield name, set(re.findall(r"(\w+)\s*[=!]", matchers)), expression


def _free_ports(count):
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What a daemon exports that has had sessions, to an origin that is there and one that is not."""
    folder = tmp_path_factory.mktemp("monitored")
    certificate, key = Authority().issue("x.example").write(folder, "c")
    with socket.create_server(("127.0.0.1", 0)) as origin:
        edge, direct, metrics, nowhere = _free_ports(4)
        text = (
            f"metrics: {{listen: 127.0.0.1:{metrics}}}\n"
            "limits: {sessions: 1000}\n"
            f"certificates: {{c: {{certificate: {certificate}, key: {key}}}}}\n"
            f"records: {{journal: {{path: {folder}/journal}}, sinks: {{f: {{path: {folder}/records.json}}}}}}\n"
            "pools:\n"
            f"  p: {{origins: [{{name: o, address: 127.0.0.1, port: {origin.getsockname()[1]}}}]}}\n"
            "load_balancers: {b: {default_pools: [p]}}\n"
            "apps:\n"
            f"  x: {{protocol: tcp/{edge}, edge_ips: [127.0.0.1], load_balancer: b, limits: {{sessions: 1}}}}\n"
            f"  y: {{protocol: tcp/{direct}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:{nowhere}]}}\n"
        )
        with Daemon(folder, text) as daemon:
            with socket.create_connection(("127.0.0.1", edge), 5) as client, origin.accept()[0]:
                for port in (edge, direct):  # one more than it may have, and one whose origin refuses
                    # It may be refused before `connect` returns.
                    with suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), 5) as other:
                        assert other.recv(1) == b""
                client.sendall(b"x")
            daemon.wait_for_events(3)
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as answer:
                return answer.read().decode()


def test_promtool_finds_nothing(page, require):
    require("promtool")
    found = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_the_rules_hold_against_recorded_series(require):
    require("promtool")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=ALERTS.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_all_expressions_are_promql(tmp_path, require):
    """Those of the dashboard with an interval of five minutes, and those in the docs."""
    require("promtool")
    docs = (CONFIG.parent / "docs" / "monitoring.md").read_text().partition("## Questions")[2]
    queries = [*re.findall(r"\| `(.+)` \|$", docs, re.MULTILINE), *panels()]
    assert len(queries) > 30
    rules = [{"record": f"query:{i}", "expr": one.replace("$__rate_interval", "5m")} for i, one in enumerate(queries)]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_quiet_and_firing():
    tests = yaml.safe_load((ALERTS.parent / "alerts_test.yml").read_text())["tests"]
    outcomes = {}
    for one in (part for test in tests for part in test["alert_rule_test"]):
        outcomes.setdefault(one["alertname"], set()).add(bool(one["exp_alerts"]))
    assert outcomes == {rule["alert"]: {True, False} for rule in RULES if "alert" in rule}


def test_all_that_is_asked_for_is_exported(page):
    exported = dict(RARE)
    filtered = filter_metrics(
        Filter.model_validate({"interfaces": ["lo"], "guard": ["::/0"]}), dict.fromkeys(("list a", *OTHERS), (0, 0))
    )
    counts = AttackCounts()
    counts.take(event(), {})
    attacks = attack_metrics([attack()], counts)
    for family in (*text_string_to_metric_families(page), *filtered, *attacks):
        for sample in family.samples:
            exported.setdefault(sample.name, set()).update(sample.labels)
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    metrics = 0
    for name, labels, expression in asked():
        if name in recorded:
            continue
        assert name in exported, f"{name} in {expression}"
        assert labels <= exported[name] | TARGET, f"{name} in {expression}"
        metrics += 1
    assert metrics > 60
    for expression in expressions():
        names = [name for name, _, _ in asked() if name in expression and name not in recorded]
        known = TARGET.union(*(exported[name] for name in names)) | {"le"}
        for by in re.findall(r"by \(([^)]*)\)", expression):
            assert set(by.split(", ")) <= known, expression


def test_the_dashboard_is_laid_out():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
