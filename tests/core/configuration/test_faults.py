import pytest
from pydantic import ValidationError

from spectrum.core.balancing.objects import Pool
from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault, faults_of, nearest

GOOD = {"protocol": "tcp/22", "origin_direct": ["tcp://192.0.2.1:22"]}


def faults(body):
    with pytest.raises(ValidationError) as caught:
        App.model_validate(body)
    return list(faults_of(caught.value, App, ("apps", "x")))


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (GOOD | {"protocl": 1}, ("protocl",), 'unknown key "protocl"; did you mean "protocol"?'),
        (GOOD | {"timeouts": {"idel": 1}}, ("timeouts", "idel"), 'unknown key "idel"; did you mean "idle"?'),
        (GOOD | {"timeouts": {"zzz": 1}}, ("timeouts", "zzz"), 'unknown key "zzz"; known here: connect, idle'),
        (GOOD | {"accept_proxy_protocol": {"form": []}}, ("accept_proxy_protocol", "from"), '"from" is missing'),
        ({"origin_direct": GOOD["origin_direct"]}, ("protocol",), '"protocol" is missing'),
        (GOOD | {"proxy_protocol": "v3"}, ("proxy_protocol",), "expected off or v1 or v2 or simple, found 'v3'"),
        (GOOD | {"keepalive": {"count": "3"}}, ("keepalive", "count"), "expected a whole number, found '3'"),
        (GOOD | {"timeouts": 5}, ("timeouts",), "expected a mapping with connect, idle, found 5"),
        (
            GOOD | {"origin_direct": "tcp://192.0.2.1:22"},
            ("origin_direct",),
            "expected a list, found 'tcp://192.0.2.1:22'; write [tcp://192.0.2.1:22]",
        ),
        (
            GOOD | {"origin_direct": GOOD["origin_direct"] * 257},
            ("origin_direct",),
            "expected at most 256 entries, found 257",
        ),
        (GOOD | {"source_ips": ["192.0.2.9"] * 65}, ("source_ips",), "expected at most 64 entries, found 65"),
        (GOOD | {"origin_direct": {}}, ("origin_direct",), "expected a list, found an empty mapping"),
        (GOOD | {"edge_ips": "::1"}, ("edge_ips",), "expected a list of addresses, found '::1'; write [::1]"),
        (GOOD | {"protocol": 2222}, ("protocol",), "expected text such as tcp/2222, found 2222"),
        (
            GOOD | {"limits": True},
            ("limits",),
            "expected a mapping with sessions, flows, new_per_second, client, prefix, action, ..., found true",
        ),
        (
            GOOD | {"tls": True},
            ("tls",),
            "expected off or flexible or full or strict, found true; did you mean flexible?",
        ),
        (
            GOOD | {"edge_ips": ["${EDGE}"]},
            ("edge_ips", 0),
            "'${EDGE}' is not an IP address",
        ),
        (
            GOOD | {"keepalive": {"count": 1000}},
            ("keepalive", "count"),
            "input should be less than or equal to 127, found 1000",
        ),
    ],
)
def test_messages(body, path, message):
    found = {fault.path: fault for fault in faults(body)}
    assert found[("apps", "x", *path)].message == message


def test_every_fault_is_found():
    assert len(faults({"protocol": "x", "origin_direct": ["y", "z"], "edge_ips": 3})) == 4


def test_a_fault_of_a_whole_mapping_is_at_its_key():
    srv = {"protocol": "tcp/22", "origin_dns": {"name": "o.example", "type": "SRV"}, "origin_port": 22}
    assert faults(srv) == [Fault(("apps", "x", "origin_port"), "the port comes from the SRV record; omit origin_port")]


def test_an_unknown_key_is_meant_itself():
    assert faults(GOOD | {"zzz": 1}) == [
        Fault(
            ("apps", "x", "zzz"),
            'unknown key "zzz"' + nearest("zzz", [f.alias or n for n, f in App.model_fields.items()]),
            True,
        )
    ]


def test_the_top_level_knows_apps():
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"app": {}, "apps": {}})
    assert [fault.message for fault in faults_of(caught.value, Config, ())] == [
        'unknown key "app"; did you mean "apps"?'
    ]


def test_a_list_whose_entries_are_all_wrong_is_not_called_empty():
    with pytest.raises(ValidationError) as caught:
        Pool.model_validate({"origins": [{"name": "o", "address": "0.0.0.0"}]})
    assert [fault.path for fault in faults_of(caught.value, Pool, ())] == [("origins", 0, "address")]
    with pytest.raises(ValidationError) as caught:
        Pool.model_validate({"origins": []})
    assert [fault.message for fault in faults_of(caught.value, Pool, ())] == ["an empty list: name at least one"]
