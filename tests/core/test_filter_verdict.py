"""What the filter does with a client's packets: a table of rules, and the order of the whole."""

from ipaddress import ip_address

import pytest

from spectrum.core.filter import Filter
from spectrum.core.filter_verdict import ListMatch, judge_packets

BASE = {"interfaces": ["eth0"], "guard": ["192.0.2.0/24"]}
LISTED = ListMatch("drop", "203.0.113.0/24", "/etc/drop.txt:17")


def judged(more, listed=(), client="203.0.113.8", transport="tcp", ports=(22, 22)):
    settings = Filter.model_validate(BASE | more)
    return judge_packets(settings, listed, ip_address(client), transport, ports)


def test_the_order():
    rules = {"rules": {"all": {"protocol": "tcp"}}, "packets_per_second": 9}
    assert judged(rules, [LISTED], client="192.0.2.7") == (
        False,
        ["filter on eth0: guard 192.0.2.0/24 contains it: none of its packets is dropped"],
    )
    assert judged(rules, [LISTED]) == (
        True,
        ["filter on eth0: list drop contains it (203.0.113.0/24 in /etc/drop.txt:17): all its packets are dropped"],
    )
    assert judged(rules) == (True, ["filter on eth0: rule all: its packets are dropped"])
    assert judged({}) == (False, ["filter on eth0: no rule matches its packets"])
    assert judged({"syns_per_second": 5, "packets_per_second": 9}) == (
        False,
        [
            "filter on eth0: SYNs beyond 5 a second for one address and port get cookies",
            "filter on eth0: its packets beyond 9 a second are dropped, those of its /64 included for IPv6",
        ],
    )
    assert "SYNs" not in str(judged({"syns_per_second": 5}, transport="udp"))
    assert "port are dropped" in str(judged({"syns_per_second": 5, "syn_action": "drop"}))


def test_a_dry_run_drops_nothing():
    head = "filter on eth0 (dry run, nothing is dropped)"
    found = judged({"dry_run": True}, [ListMatch("drop", "203.0.113.8/32", "")])
    assert found == (False, [f"{head}: list drop contains it (203.0.113.8/32): all its packets would be dropped"])
    found = judged({"dry_run": True, "rules": {"all": {"protocol": "tcp"}}})
    assert found == (False, [f"{head}: rule all: its packets would be dropped"])


@pytest.mark.parametrize(
    ("rule", "those"),
    [
        ({"source": "203.0.113.0/24"}, "its packets are dropped"),
        ({"source": "198.51.100.0/24"}, None),
        ({"source": "2001:db8::/32"}, None),
        ({"destination": "2001:db8::/32"}, None),
        ({"destination": "198.51.100.1/32"}, "its packets with destination 198.51.100.1/32 are dropped"),
        ({"protocol": "udp"}, None),
        ({"protocol": "1-17"}, "its packets are dropped"),
        ({"destination_port": 22}, "its packets are dropped"),
        ({"destination_port": "20-25"}, "its packets are dropped"),
        ({"destination_port": "80-90"}, None),
        ({"source_port": "0-1023"}, "its packets with source port 0-1023 are dropped"),
        ({"length": "0-43", "ttl": 1}, "its packets with length 0-43, ttl 1 are dropped"),
        ({"tcp_flags": "syn !ack"}, "its packets are dropped"),
        ({"tcp_flags": "ack !syn"}, "its packets with TCP flags !syn ack are dropped"),
        ({"fragment": True}, "its packets with fragments are dropped"),
        ({"fragment": False}, "its packets are dropped"),
        ({"fragment": "later"}, "its packets with later fragments are dropped"),
        ({"version": 4}, "its packets are dropped"),
        ({"version": 6}, None),
        ({"served": True}, "its packets are dropped"),
        ({"served": False}, None),
        (
            {"protocol": "tcp", "window": 5840, "ident": "1-2"},
            "its packets with ident 1-2, window 5840 are dropped",
        ),
        (
            {"protocol": "tcp", "sequence": 5, "acknowledgement": 0},
            "its packets with sequence 5, acknowledgement 0 are dropped",
        ),
        (
            {"payload": "4?56", "idle": True, "known": False},
            "its packets with a payload that begins 4?56, no session in use, an unknown source are dropped",
        ),
        ({"protocol": "tcp", "action": "log"}, "its packets are counted"),
        ({"protocol": "tcp", "action": "cookie"}, "its packets get cookies if they are SYNs"),
        (
            {"protocol": "tcp", "action": "retry"},
            "its packets are dropped when first sent, and pass when retransmitted",
        ),
        (
            {"protocol": "tcp", "packets_per_second": 7, "action": "source-limit"},
            "its packets are dropped beyond 7 a second, those of its /64 included for IPv6",
        ),
        (
            {"protocol": "tcp", "packets_per_second": 7},
            "its packets are dropped beyond 7 a second, those of other sources included",
        ),
    ],
)
def test_rules(rule, those):
    verdict = judged({"rules": {"r": rule}})
    assert verdict.steps == [
        f"filter on eth0: rule r: {those}" if those else "filter on eth0: no rule matches its packets"
    ]
    assert verdict.drops == (those == "its packets are dropped")


def test_flags_are_of_tcp_and_some_ports_of_an_app_of_many():
    rules = {"flags": {"tcp_flags": "syn"}, "ports": {"destination_port": "1000-1100"}}
    assert judged({"rules": rules}, transport="udp", ports=(900, 1010)).steps == [
        "filter on eth0: rule ports: its packets with destination port 1000-1010 are dropped"
    ]
