from spectrum.core.configuration.config import Config
from spectrum.core.configuration.feature import CheckContext
from spectrum.core.tcp_protection.checks import check_tcp_protection

FILTER = {"interfaces": ["lo"], "guard": ["192.0.2.1"]}
RULE = {"component": "syn_protection", "mode": "enabled"}


def faults(whole, part=None):
    whole = Config.model_validate(whole)
    part = whole if part is None else Config.model_validate(part)
    return [(fault.path, fault.message) for fault in check_tcp_protection(part, CheckContext({}, None, whole))]


def test_it_takes_the_filter():
    wanted = {"tcp_rules": {"a": RULE, "b": RULE | {"component": "tcp_flow_protection", "mode": "disabled"}}}
    ((path, message),) = faults(wanted)
    assert path == ("tcp_rules", "a", "mode") and "`filter` in the file" in message
    assert faults(wanted | {"filter": FILTER}) == []


def test_nothing_stands_twice():
    whole = {
        "filter": FILTER,
        "tcp_protection": {"a": {}, "b": {}},
        "tcp_prefixes": {"p": {"prefix": "10.0.0.0/8"}, "q": {"prefix": "10.0.0.0/8", "excluded": True}},
        "tcp_rules": {"r": RULE, "s": RULE},
    }
    assert faults(whole) == [
        (("tcp_protection", "b"), "a already defines whether TCP protection is on"),
        (("tcp_prefixes", "q"), "10.0.0.0/8 is already the subject of p"),
        (("tcp_rules", "s"), "syn_protection of global global is already the subject of r"),
    ]
    (one,) = faults(whole, {"tcp_rules": {"r": RULE}})
    assert one == (("tcp_rules", "r"), "syn_protection of global global is already the subject of s")


def test_what_the_kernel_has_no_room_for():
    filters = {
        f"f{n}": {
            "component": "syn_protection",
            "mode": "enabled",
            "expression": f"tcp.srcport eq {n} and tcp.dstport eq {n}",
        }
        for n in range(129)
    }
    ((path, message),) = faults({"filter": FILTER, "tcp_filters": filters}, {"tcp_filters": {"f7": filters["f7"]}})
    assert path == ("tcp_filters", "f7") and "the maximum is 128" in message
