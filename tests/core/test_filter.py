"""The filter of the file: what rules say, and what is wrong with them."""

import pytest

from spectrum.control.configuration.loader import ConfigError, load_text

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"


def loaded(rule):
    text = f"{APPS}ddos: {{}}\nfilter: {{interfaces: [lo], guard: ['::1/128'], rules: {{r: {{{rule}}}}}}}"
    return load_text(text, "f").filter.rules["r"]


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ("protocol: udp", "protocol", (17, 17)),
        ("protocol: 47", "protocol", (47, 47)),
        ("protocol: 6-17", "protocol", (6, 17)),
        ("source_port: 123", "source_port", (123, 123)),
        ("destination_port: 1024-65535", "destination_port", (1024, 65535)),
        ("length: 0-60", "length", (0, 60)),
        ("ttl: 1-5", "ttl", (1, 5)),
        ("tcp_flags: syn !ack", "tcp_flags", (0x12, 0x02)),
        ("tcp_flags: '!syn !ack !rst !fin'", "tcp_flags", (0x17, 0)),
        ("fragment: true", "fragment", True),
        ("fragment: later", "fragment", "later"),
        ("fragment: first, destination_port: 53", "fragment", "first"),
        ("protocol: 1-6, destination_port: 53, tcp_flags: syn", "protocol", (1, 6)),
        ("version: 6", "version", 6),
        ("protocol: tcp, window: 1024", "window", (1024, 1024)),
        ("ident: 0", "ident", (0, 0)),
        ("protocol: tcp, sequence: 3405803856", "sequence", 3405803856),
        ("protocol: tcp, acknowledgement: 0", "acknowledgement", 0),
        ("payload: '4756'", "payload", (0x4756 << 48, 0xFFFF << 48)),
        ("payload: '4?56??01'", "payload", (0x40560001 << 32, 0xF0FF00FF << 32)),
        ("idle: true", "idle", True),
        ("known: false", "known", False),
        ("served: false", "served", False),
        ("protocol: tcp, action: cookie", "does", "cookie"),
        ("protocol: tcp, tcp_flags: syn, action: cookie", "does", "cookie"),
        ("protocol: udp, action: log", "does", "log"),
        ("protocol: udp, action: retry", "does", "retry"),
        ("protocol: udp", "does", "block"),
    ],
)
def test_what_rules_say(given, field, value):
    rule = loaded(given)
    assert getattr(rule, field) == value
    assert rule.packets_per_second is None


def test_a_rate_alone_is_a_limit():
    assert loaded("protocol: udp, packets_per_second: 5").does == "limit"
    assert loaded("protocol: udp, packets_per_second: 5, action: source-limit").does == "source-limit"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "a rule without a condition would match every packet"),
        ("packets_per_second: 5", "a rule without a condition"),
        ("protocol: tpc", "'tpc' is not a protocol: icmp, tcp, udp, "),
        ("protocol: 256", "256 is not a protocol"),
        ("source_port: 65536", "not from a lower to a higher number, 65535 at most"),
        ("source_port: 20-10", "'20-10': not from a lower to a higher number"),
        ("source_port: 20-", "'20-': a range has two ends, such as 10-65535"),
        ("ttl: true", "expected a number up to 255, or a range such as 10-255, found true"),
        ("tcp_flags: syn syn", "'syn syn': each of fin, syn, "),
        ("tcp_flags: sin", "'sin': each of fin, syn, "),
        ("source: 192.0.2.0/24, destination: '::/0'", "source and destination must be of one family"),
        ("fragment: true, source_port: 5", "later fragments have neither ports nor flags; `fragment: first`"),
        ("fragment: later, tcp_flags: syn", "later fragments have neither ports nor flags"),
        ("source: 192.0.2.1/24", "'192.0.2.1/24' is not a prefix"),
        ("protocol: udp, packets_per_second: 0", "packets_per_second"),
        ("action: log", "a rule without a condition"),
        (
            "protocol: udp, action: limit",
            "packets_per_second is for limit and source-limit, which need it; found limit",
        ),
        ("protocol: udp, action: log, packets_per_second: 5", "which need it; found log"),
        ("protocol: udp, action: cookie", "cookies are for SYNs"),
        ("protocol: tcp, tcp_flags: ack, action: cookie", "cookies are for SYNs"),
        ("window: 5", "window exists in TCP: add `protocol: tcp`"),
        ("sequence: 5", "sequence and acknowledgement exist in TCP: add `protocol: tcp`"),
        ("acknowledgement: 5, protocol: 6-17", "sequence and acknowledgement exist in TCP"),
        ("sequence: 4294967296, protocol: tcp", "sequence: "),
        ("sequence: -1, protocol: tcp", "sequence: "),
        ("sequence: 5, protocol: tcp, fragment: later", "later fragments have no sequence numbers"),
        ("version: 6, source: 192.0.2.0/24", "and of the given version"),
        ("payload: 4756", "4756: the first bytes of a payload are 1 to 8, in quotes, of two hex digits each or ?"),
        ("payload: '475'", "of two hex digits each or ?"),
        ("payload: '????'", "of two hex digits each or ?"),
        ("payload: '112233445566778899'", "1 to 8"),
        ("idle: false", "write idle: true, or omit it for packets of all flows; found false"),
        ("idle: 1", "write idle: true, or omit it for packets of all flows; found 1"),
        ("fragment: First", "fragment: expected true, false, first or later, found 'First'"),
        ("fragment: [first]", "expected true, false, first or later, found "),
        ("fragment: 1", "expected true, false, first or later, found 1"),
        (
            "protocol: icmp, destination_port: 7",
            "ports exist in tcp and udp: with another protocol a rule matches nothing",
        ),
        ("protocol: 18-255, source_port: 7", "ports exist in tcp and udp"),
        ("protocol: udp, tcp_flags: syn", "tcp_flags exist in TCP"),
        ("ttl: null, action: block", "a rule without a condition would match every packet"),
        ("sets: []", 'unknown key "sets"; known here: acknowledgement, action, destination, destination_port, '),
    ],
)
def test_faults_of_rules(given, says):
    with pytest.raises(ConfigError) as caught:
        loaded(given)
    (line,) = str(caught.value).splitlines()
    assert says in line and "filter.rules.r" in line


def test_names_of_rules():
    with pytest.raises(ConfigError, match="'a b' is not a name for a rule"):
        load_text(f"{APPS}filter: {{interfaces: [lo], guard: ['::1/128'], rules: {{'a b': {{ttl: 1}}}}}}", "f")


@pytest.mark.parametrize(
    ("rule", "needs"), [("ttl: 1", False), ("idle: true", True), ("known: false", True), ("served: true", True)]
)
def test_what_needs_detection(rule, needs):
    assert loaded(rule).needs_flows is needs
