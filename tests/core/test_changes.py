import pytest

from spectrum.control.loader import load_text
from spectrum.core.changes import changes

BASE = """
monitors: {m: {type: tcp}}
pools: {p: {origins: [{name: a, address: 192.0.2.1, port: 22}], monitor: m}}
load_balancers: {lb: {default_pools: [p]}}
apps:
  one: {protocol: tcp/22, load_balancer: lb}
  two: {protocol: tcp/23, edge_ips: [192.0.2.9], origin_direct: ["tcp://192.0.2.1:23"], timeouts: {idle: 5s}}
"""


@pytest.mark.parametrize(
    ("find", "replace", "expected"),
    [
        ("", "", []),
        ("  two:", "  three:", ["added app three", "removed app two"]),
        ("tcp/22", "tcp/24", ["changed app one: protocol tcp/22 -> tcp/24"]),
        ("idle: 5s", "idle: 1m", ["changed app two: timeouts.idle 5 -> 60"]),
        ("idle: 5s", "connect: 1s", ["changed app two: timeouts.connect 5 -> 1, timeouts.idle 5 -> nothing"]),
        ("[192.0.2.9]", "[192.0.2.9, '::1']", ["changed app two: edge_ips [192.0.2.9] -> [192.0.2.9, ::1]"]),
        ("edge_ips: [192.0.2.9], ", "", ["changed app two: edge_ips [192.0.2.9] -> nothing"]),
        (
            'origin_direct: ["tcp://192.0.2.1:23"]',
            "load_balancer: lb",
            ["changed app two: origin_direct [tcp://192.0.2.1:23] -> nothing, load_balancer nothing -> lb"],
        ),
        ("port: 22}", "port: 23}", ["changed pool p: origins"]),
        ("type: tcp", "type: tcp, retries: 5", ["changed monitor m: retries 2 -> 5"]),
        (
            "default_pools: [p]",
            "default_pools: [p], enabled: false",
            ["changed load balancer lb: enabled true -> false"],
        ),
        ("apps:", "workers: 3\napps:", ["changed workers 0 -> 3"]),
        ("apps:", "log: {format: text}\napps:", ["changed log.format json -> text"]),
        ("apps:", "metrics: {listen: 127.0.0.1:9}\napps:", ["changed metrics"]),
        ("apps:", "node: {name: fra1}\napps:", ["changed node.name '' -> fra1"]),
    ],
)
def test_what_differs(find, replace, expected):
    old, new = load_text(BASE, "old"), load_text(BASE.replace(find, replace, 1), "new")
    assert sorted(changes(old, new)) == sorted(expected)
