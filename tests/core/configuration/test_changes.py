import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.core.configuration.changes import changes, restart_needed

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
        ("type: tcp", 'type: tcp, send: "a\\r\\n"', [r"changed monitor m: send '' -> 'a\r\n'"]),
        (
            "default_pools: [p]",
            "default_pools: [p], enabled: false",
            ["changed load balancer lb: enabled true -> false"],
        ),
        ("apps:", "workers: 3\napps:", []),
        ("apps:", "log: {format: text}\napps:", ["changed log.format json -> text"]),
        ("apps:", "metrics: {listen: 127.0.0.1:9}\napps:", []),
        ("apps:", "busy_poll: off\napps:", ["changed busy_poll 0.0002 -> off"]),
        ("apps:", "node: {name: fra1}\napps:", ["changed node.name '' -> fra1"]),
    ],
)
def test_what_differs(find, replace, expected):
    old, new = load_text(BASE, "old"), load_text(BASE.replace(find, replace, 1), "new")
    assert sorted(changes(old, new)) == sorted(expected)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", []),
        ("", "workers: 3", ["workers auto -> 3"]),
        ("workers: 3", "workers: auto", ["workers 3 -> auto"]),
        ("", "metrics: {listen: 127.0.0.1:9}", ["metrics"]),
        (
            "metrics: {listen: 127.0.0.1:8}",
            "metrics: {listen: 127.0.0.1:9}",
            ["metrics.listen 127.0.0.1:8 -> 127.0.0.1:9"],
        ),
        ("", "user: nobody", ["user nothing -> nobody"]),
        ("", "seccomp: true", ["seccomp false -> true"]),
        ("", "control: {socket: /run/x}", ["control"]),
        ("", "kernel: {bpffs: /bpf}", ["kernel.bpffs /sys/fs/bpf -> /bpf"]),
        ("", "max_flows: 5", ["max_flows 100000 -> 5"]),
        ("", "max_affinities: 5", ["max_affinities 262144 -> 5"]),
        ("", "limits: {client_prefix: {ipv4: 24}}", ["limits.client_prefix.ipv4 32 -> 24"]),
        ("", "limits: {prefix_length: {ipv6: 40}}", ["limits.prefix_length.ipv6 48 -> 40"]),
        ("", "limits: {memory: 1GiB}\ndrain_timeout: 1s\nlog: {format: text}", []),
    ],
)
def test_what_takes_a_restart(before, after, expected):
    started, now = load_text(f"{before}{BASE}", "old"), load_text(f"{after}{BASE}", "new")
    assert restart_needed(started, now) == expected
    assert restart_needed(started, started) == []
    assert not any(
        change.startswith(f"changed {line.split()[0]}") for change in changes(started, now) for line in expected
    )
