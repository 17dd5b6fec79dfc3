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
        ("port: 22}", "port: 23}", ["changed pool p: origins.a.port 22 -> 23"]),
        ("port: 22}", "port: 22, weight: 0.5}", ["changed pool p: origins.a.weight 1 -> 0.5"]),
        (
            "[{name: a, ",
            "[{name: b, address: x.example, port: 1}, {name: c, ",
            ["changed pool p: origins.b added, origins.c added, origins.a removed"],
        ),
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


def pool_of(origins):
    return BASE.replace("{name: a, address: 192.0.2.1, port: 22}", ", ".join(origins))


def test_parts_of_an_object():
    """The first of many, and an order, which decides for some policies."""
    one = pool_of(f"{{name: o{n}, address: 192.0.2.1, port: {n + 1}}}" for n in range(30))
    other = pool_of(f"{{name: o{n}, address: 192.0.2.1, port: {n + 2}}}" for n in range(30))
    (line,) = changes(load_text(one, "old"), load_text(other, "new"))
    assert line.startswith("changed pool p: origins.o0.port 1 -> 2, ")
    assert line.endswith("origins.o9.port 10 -> 11, and 20 more in origins")
    origins = [f"{{name: {n}, address: 192.0.2.1, port: 1}}" for n in "ab"]
    old, new = load_text(pool_of(origins), "old"), load_text(pool_of(reversed(origins)), "new")
    assert changes(old, new) == ["changed pool p: origins in another order"]


def test_named_settings():
    lists = "filter: {interfaces: [lo], guard: [192.0.2.0/24], rules: {a: {ttl: 5}, b: {ttl: 6}}}"
    old, new = (load_text(f"{text}{BASE}", "x") for text in (lists, lists.replace("a: {ttl: 5}", "a: {ttl: 7}")))
    assert changes(old, new) == ["changed filter.rules.a.ttl [5, 5] -> [7, 7]"]


def test_parts_that_may_be_secret(monkeypatch):
    monkeypatch.setenv("ADDRESS", "192.0.2.7")
    old, new = load_text(BASE, "old"), load_text(BASE.replace("address: 192.0.2.1", "address: '${ADDRESS}'"), "new")
    assert changes(old, new) == ["changed pool p: origins.a.address"]
