import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.apps import APPS
from spectrum.store.objects import file_id
from tests.api.kinds.references import Known, has, stored

REFS = Known(load_balancers=["lb.example.com"], certificates=["wildcard"])
CNAME = {"type": "CNAME", "name": "ssh.example.com"}
SSH = {"protocol": "tcp/22", "dns": CNAME, "origin_direct": ["tcp://192.0.2.1:22"]}


def answer(body):
    return APPS.from_value(stored("apps", "ssh.example.com", APPS.checked(body, REFS)), REFS)


def refusal(body):
    with pytest.raises(ApiError) as caught:
        APPS.checked(body, REFS)
    return caught.value


def test_an_answer_has_every_default():
    assert answer(SSH) == {
        "id": file_id("apps", "ssh.example.com"),
        "created_on": "2023-11-14T22:13:20.250000Z",
        "modified_on": "2023-11-14T22:15:00.000000Z",
        **SSH,
        "edge_ips": {"type": "dynamic", "connectivity": "all"},
        "ip_firewall": False,
        "tls": "off",
        "argo_smart_routing": False,
        "proxy_protocol": "off",
        "traffic_type": "direct",
    }


@pytest.mark.parametrize(
    "more",
    [
        {"edge_ips": {"type": "dynamic", "connectivity": "ipv4"}},
        {"edge_ips": {"type": "static", "ips": ["192.0.2.7"]}, "dns": {"type": "ADDRESS", "name": "a.example.com"}},
        # What Terraform's own tests send.
        {"origin_port": 22},
        {"origin_port": "22"},
        {"ip_firewall": True, "proxy_protocol": "v1", "argo_smart_routing": False, "traffic_type": "direct"},
        {"virtual_network_id": None, "tls": None},
        # Keys that only the file has.
        {"timeouts": {"connect": "2s", "idle": 60}, "limits": {"sessions": 5, "client": {"new_per_second": 2}}},
        {"accept_proxy_protocol": {"from": ["192.0.2.0/24"], "timeout": "1s"}, "sni": ["a.example"], "drain_pace": 0},
    ],
)
def test_what_was_configured_is_answered(more):
    assert has(answer(SSH | more), SSH | more)


@pytest.mark.parametrize(
    "body",
    [
        {
            "protocol": "tcp/22",
            "dns": CNAME,
            "origin_dns": {"name": "o.example", "ttl": 1200, "type": "A"},
            "origin_port": 22,
        },
        {"protocol": "tcp/22-23", "dns": CNAME, "origin_dns": {"name": "o.example"}, "origin_port": "3000-3001"},
        {"protocol": "tcp/22", "dns": CNAME, "origin_dns": {"name": "_a._tcp.o.example", "type": "SRV"}},
        {"protocol": "tcp/22", "dns": CNAME, "origin_dns": {"name": "lb.example.com", "ttl": 600}, "origin_port": 22},
        {"protocol": "tcp/22", "dns": CNAME, "load_balancer": file_id("load_balancers", "lb.example.com")},
        {
            **SSH,
            "tls": "full",
            "edge_tls": {"certificates": [file_id("certificates", "wildcard")]},
            "origin_tls": {"certificate": file_id("certificates", "wildcard")},
        },
    ],
)
def test_each_kind_of_origin_is_answered_as_it_was_given(body):
    assert has(answer(body), body)


def test_the_name_of_a_load_balancer_is_that_load_balancer():
    body = {"protocol": "tcp/22", "dns": CNAME, "origin_dns": {"name": "lb.example.com"}, "origin_port": 22}
    value = APPS.checked(body, REFS)
    assert value["load_balancer"] == "lb.example.com"
    assert "load_balancer" not in answer(body)
    assert APPS.checked(APPS.to_body(value, REFS), REFS) == value


def test_an_app_of_the_file_has_a_name_in_dns():
    value = {"protocol": "tcp/22", "origin_direct": ["tcp://192.0.2.1:22"], "edge_ips": ["192.0.2.7"], "tls": False}
    told = APPS.from_value(stored("apps", "ssh", value), REFS)
    assert told["dns"] == {"type": "ADDRESS", "name": "ssh"}
    assert told["edge_ips"] == {"type": "static", "ips": ["192.0.2.7"]}
    assert told["tls"] == "off"
    assert APPS.from_value(stored("apps", "ssh", {"preset": "ssh"}), REFS)["protocol"] == "tcp/22"


def test_what_answers_alone_have_is_passed_over():
    assert APPS.checked(answer(SSH), REFS) == {
        **SSH,
        "edge_ips": {"type": "dynamic", "connectivity": "all"},
        "ip_firewall": False,
        "tls": "off",
        "argo_smart_routing": False,
        "proxy_protocol": "off",
        "traffic_type": "direct",
    }


NETWORK = "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"
# Cloudflare's page on error codes of Spectrum.
FAULTS = [
    ({"colour": "red"}, 400, 10012, "/colour", 'unknown field "colour"'),
    ({"origin_dns": {"name": "o.example"}, "origin_port": 22}, 400, 11000, "/origin_dns", "invalid"),
    ({"origin_direct": None}, 400, 11000, "/origin_direct", "none of them"),
    ({"origin_direct": []}, 400, 11002, "/origin_direct", "name at least one"),
    ({"origin_direct": ["tcp://2001:db8::1:22"]}, 400, 11002, "/origin_direct/0", "brackets"),
    ({"origin_direct": ["tcp://192.0.2.1:22", "192.0.2.1"]}, 400, 11002, "/origin_direct/1", "not an origin"),
    ({"origin_direct": None, "origin_dns": {"name": "o.example"}}, 400, 11001, "/origin_port", "origin_port"),
    ({"origin_direct": None, "origin_dns": {}, "origin_port": 1}, 400, 11001, "/origin_dns/name", "name"),
    (
        {"origin_direct": None, "origin_dns": {"name": "o.example", "ttl": 0}, "origin_port": 1},
        400,
        11001,
        "/origin_dns/ttl",
        "0",
    ),
    ({"dns": {"type": "ADDRESS", "name": "a.example.com"}}, 400, 11004, "/dns/type", "static"),
    ({"edge_ips": {"type": "static", "ips": ["192.0.2.7"]}}, 400, 11004, "/dns/type", "ADDRESS"),
    (
        {
            "edge_ips": {"type": "static", "ips": ["192.0.2.7", "x"]},
            "dns": {"type": "ADDRESS", "name": "a.example.com"},
        },
        400,
        11019,
        "/edge_ips/ips/1",
        "'x'",
    ),
    ({"dns": {"type": "TXT", "name": "a.example.com"}}, 400, 11004, "/dns/type", "TXT"),
    ({"dns": None}, 400, 10012, "/dns/name", "missing"),
    ({"protocol": "sctp/22"}, 400, 13002, "/protocol", "not a protocol"),
    ({"protocol": None}, 400, 13002, "/protocol", "missing"),
    ({"traffic_type": "http"}, 400, 13002, "/traffic_type", "direct"),
    ({"traffic_type": "worker", "origin_worker_id": "w"}, 400, 10012, "/origin_worker_id", "Workers"),
    ({"argo_smart_routing": True}, 403, 11026, "/argo_smart_routing", "Argo"),
    ({"traffic_type": "ftp"}, 403, 11014, "/traffic_type", "FTP is not enabled"),
    ({"virtual_network_id": NETWORK}, 400, 11044, "/virtual_network_id", "No matching routes"),
    ({"virtual_network_id": "a" * 36}, 400, 11045, "/virtual_network_id", "not a UUID"),
    (
        {"virtual_network_id": NETWORK, "origin_direct": None, "origin_dns": {"name": "o.example"}, "origin_port": 1},
        400,
        11041,
        "/origin_dns",
        "needs origin_direct",
    ),
    (
        {"virtual_network_id": NETWORK, "origin_direct": ["tcp://192.0.2.1:22", "tcp://192.0.2.2:22"]},
        400,
        11042,
        "/origin_direct",
        "exactly one origin",
    ),
    (
        {"virtual_network_id": NETWORK, "origin_direct": ["tcp://192.0.2.1:22-23"]},
        400,
        11043,
        "/origin_direct",
        "one port",
    ),
    ({"virtual_network_id": NETWORK, "origin_port": "22-23"}, 400, 11043, "/origin_port", "one port"),
    ({"edge_ips": []}, 400, 11004, "/edge_ips", "an empty list would listen nowhere"),
    ({"edge_ips": {"type": "fixed"}}, 400, 11004, "/edge_ips", "expected {type: static"),
    ({"edge_ips": {"type": "dynamic", "connectivity": []}}, 400, 11004, "/edge_ips", "an empty list; expected all"),
    (
        {"origin_direct": None, "origin_dns": {"name": "o.example", "type": "SRV"}, "origin_port": 22},
        400,
        11001,
        "/origin_port",
        "omit origin_port",
    ),
    ({"ip_firewall": "yes"}, 400, 10012, "/ip_firewall", "true or false"),
    ({"load_balancer": "0" * 32, "origin_direct": None}, 400, 11000, "/load_balancer", "no load balancer"),
    ({"edge_tls": {"certificates": ["0" * 32]}}, 400, 10012, "/edge_tls/certificates", "no certificate"),
    ({"edge_tls": {"client_ca": "/etc/shadow"}}, 400, 10012, "/edge_tls/client_ca", "file"),
    ({"origin_tls": {"ca": "/etc/shadow"}}, 400, 10012, "/origin_tls/ca", "file"),
    ({"zone": "other.example"}, 400, 10012, "/zone", "unknown field"),
    ({"timeouts": {"idle": "soon"}}, 400, 10012, "/timeouts/idle", "soon"),
]


@pytest.mark.parametrize(("more", "status", "code", "pointer", "words"), FAULTS)
def test_each_fault_has_its_code_and_place(more, status, code, pointer, words):
    refused = refusal(SSH | more)
    assert (refused.status, refused.code, refused.details[0].pointer) == (status, code, pointer)
    assert words in refused.details[0].message


@pytest.mark.parametrize(
    ("place", "body", "pointer", "code"),
    [
        (("origin_direct", 0), SSH, "/origin_direct/0", 11002),
        (("load_balancer",), {"origin_dns": {}}, "/origin_dns/name", 11000),
        (("load_balancer",), {"load_balancer": "x"}, "/load_balancer", 11000),
        (("edge_ips",), {"edge_ips": {"type": "static"}}, "/edge_ips", 11004),
        (("edge_ips", 1), {"edge_ips": {"type": "static"}}, "/edge_ips/ips/1", 11019),
        (("edge_ips", 1), {"edge_ips": []}, "/edge_ips/1", 11019),
        (("protocol",), SSH, "/protocol", 13002),
        ((), SSH, "", 11000),
    ],
)
def test_a_place_of_the_file_is_one_of_the_body(place, body, pointer, code):
    detail = APPS.refusal([(place, "why")], body).details[0]
    assert (detail.pointer, detail.code, detail.message) == (pointer, code, "why")


PORTS = st.integers(1, 65535)
BODIES = st.fixed_dictionaries(
    {
        "protocol": st.builds("{}/{}".format, st.just("tcp"), PORTS),
        "dns": st.just(CNAME),
        "origin_direct": st.lists(st.builds("tcp://192.0.2.{}:{}".format, st.integers(1, 254), PORTS), min_size=1),
    },
    optional={
        "proxy_protocol": st.sampled_from(["off", "v1", "v2"]),
        "ip_firewall": st.booleans(),
        "tls": st.sampled_from(["off", "flexible", "full", "strict"]),
        "traffic_type": st.just("direct"),
        "edge_ips": st.sampled_from([{"type": "dynamic"}, {"type": "dynamic", "connectivity": "ipv6"}]),
        "origin_port": st.one_of(PORTS, PORTS.map(str)),
        "timeouts": st.fixed_dictionaries({}, optional={"connect": st.integers(1, 60), "idle": st.integers(0, 3600)}),
        "on_remove": st.sampled_from(["keep", "drain", "close"]),
        "sni": st.lists(st.sampled_from(["a.example", "*.b.example"]), unique=True),
    },
)


@given(BODIES)
def test_value_and_body_are_the_same_thing(body):
    value = APPS.checked(body, REFS)
    assert has(answer(body), body)
    assert APPS.checked(APPS.to_body(value, REFS), REFS) == value


@given(
    st.dictionaries(
        st.sampled_from([*SSH, "edge_ips", "origin_dns", "origin_port", "tls", "limits"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_anything_else_is_refused_in_words(body):
    refused = None
    try:
        APPS.checked(body, REFS)
    except ApiError as exc:
        refused = exc
    assert refused is None or (refused.status in (400, 403) and refused.details[0].pointer is not None)
