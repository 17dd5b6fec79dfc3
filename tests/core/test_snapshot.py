import msgspec

from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot
from spectrum.core.names import NameSettings, name_key
from spectrum.core.snapshot import ListenerKey, Snapshot

TEXT = """
apps:
  range: {protocol: tcp/8000-8001, edge_ips: [127.0.0.1, "::1"], origin_direct: ["tcp://192.0.2.1:90-91"]}
  name:
    protocol: tcp/22
    origin_dns: {name: example.org, type: AAAA, ttl: 30}
    origin_port: 2222
    accept_proxy_protocol: {from: [10.0.0.0/8], timeout: 2s}
    timeouts: {connect: 1s, idle: 0}
busy_poll: 50us
"""


def test_compiles_and_travels():
    snapshot = compile_snapshot(load_text(TEXT, "x"), 7)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=Snapshot) == snapshot
    assert (snapshot.generation, snapshot.busy_poll_us, snapshot.log_sessions) == (7, 50, True)
    assert not snapshot.has_journal
    ranged, named = snapshot.apps
    assert list(ranged.listeners()) == [
        (ListenerKey("127.0.0.1", 8000), 0),
        (ListenerKey("::1", 8000), 0),
        (ListenerKey("127.0.0.1", 8001), 1),
        (ListenerKey("::1", 8001), 1),
    ]
    assert ranged.origins == (("192.0.2.1", 90),)
    assert snapshot.names() == {NameSettings("example.org", "AAAA", 30, 2222, 2222)}
    assert name_key(named.origin_name) == "AAAA example.org tcp 2222-2222"
    assert (named.trusted, named.header_timeout_s) == (("10.0.0.0/8",), 2)
    assert (named.origin_port, named.connect_timeout_s, named.idle_timeout_s) == (2222, 1, 0)
    assert snapshot.listener_keys()[-1] == ListenerKey("", 22)


def test_keys_as_text():
    assert list(map(str, (ListenerKey("", 1), ListenerKey("::1", 2), ListenerKey("1.2.3.4", 3)))) == [
        "*:1",
        "[::1]:2",
        "1.2.3.4:3",
    ]


def test_listeners_of_bindings():
    body = "protocol: tcp/80-81, origin_direct: ['tcp://192.0.2.9:80-81'], bindings: [{prefix: 198.51.100.0/24}"
    other = body.replace("198.51.100.0/24", "203.0.113.0/24")
    text = f"apps: {{x: {{{body}, {{prefix: '2001:db8::/32', port: 0}}]}}, y: {{{other}], edge_ips: [127.0.0.1]}}}}"
    x, y = compile_snapshot(load_text(text, "x"), 1).apps
    assert x.bindings == (("198.51.100.0/24", 80), ("198.51.100.0/24", 81), ("2001:db8::/32", 0))
    assert [key for key, _ in x.listeners()] == [
        ListenerKey("127.0.0.1", 0, "tcp", True, "x"),
        ListenerKey("::1", 0, "tcp", True, "x"),
    ]
    assert [key for key, _ in y.listeners()] == [
        ListenerKey("127.0.0.1", 0, "tcp", True, "y"),
        ListenerKey("127.0.0.1", 80),
        ListenerKey("127.0.0.1", 81),
    ]
    assert str(ListenerKey("::1", 0, "udp", True, "x")) == "udp bindings of x"
    assert [x.offset_of(port) for port in (79, 80, 81, 82)] == [0, 0, 1, 0]


def test_records_are_wanted_for_a_journal_without_the_log():
    text = "log: {sessions: false}\napps: {a: {protocol: tcp/1, origin_direct: [tcp://192.0.2.1:1]}}\n"
    without, journaled = (
        compile_snapshot(load_text(text + more, "f"), 1) for more in ("", "records: {journal: {path: /x}}")
    )
    assert (without.log_sessions, without.has_journal) == (False, False)
    assert (journaled.log_sessions, journaled.has_journal) == (True, True)


def test_records_beyond_the_limit_of_the_log_are_wanted_for_a_journal():
    text = "log: {sessions_per_second: 7}\napps: {a: {protocol: tcp/1, origin_direct: [tcp://192.0.2.1:1]}}\n"
    found = [
        compile_snapshot(load_text(text + more, "f"), 1).records_per_s
        for more in ("", "records: {journal: {path: /x}}")
    ]
    assert found == [7, 0]
