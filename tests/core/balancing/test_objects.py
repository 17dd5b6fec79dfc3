import pytest
from pydantic import ValidationError

from spectrum.core.address import PortRange
from spectrum.core.balancing.objects import LoadBalancer, Monitor, Node, Pool, origin_ports


@pytest.mark.parametrize(
    ("given", "ranges"),
    [
        (200, ((200, 200),)),
        ("2xx", ((200, 299),)),
        ("200-204, 301,4xx", ((200, 204), (301, 301), (400, 499))),
    ],
)
def test_status_codes(given, ranges):
    assert Monitor.model_validate({"expected_codes": given}).expected_codes == ranges


ORIGIN = {"name": "a", "address": "192.0.2.1"}


@pytest.mark.parametrize(
    ("model", "body", "message"),
    [
        (Monitor, {"expected_codes": "20x"}, "'20x' is not a status code"),
        (Monitor, {"expected_codes": "204-200"}, "ends before it begins"),
        (Monitor, {"expected_codes": True}, "found true"),
        (Monitor, {"interval": "10ms"}, "at least 0.1s"),
        (Monitor, {"path": "x"}, "is not a path"),
        (Monitor, {"method": "GET /"}, "is not a method"),
        (Monitor, {"header": ["x"]}, "expected a mapping of header names"),
        (Monitor, {"header": {"X": "a\r\nb"}}, "no header of one line"),
        (Pool, {"origins": []}, "at least 1 item"),
        (Pool, {"origins": [ORIGIN | {"address": "0.0.0.0"}]}, "is not reachable"),
        (Pool, {"origins": [ORIGIN | {"address": "fe80::5%lo"}]}, "addresses with a zone"),
        (Pool, {"origins": [ORIGIN | {"address": "fe80::5"}]}, "link-local IPv6 addresses are not supported"),
        (Pool, {"origins": [ORIGIN | {"address": "a b"}]}, "neither an IP address nor a host name"),
        (Pool, {"origins": [ORIGIN | {"header": {"X-Y": "z"}}]}, "an origin can have one header, Host"),
        (Pool, {"origins": [ORIGIN | {"weight": 1.5}]}, "less than or equal to 1"),
        (LoadBalancer, {"default_pools": ["a"], "session_affinity_ttl": "8d"}, "at most 7d"),
        (LoadBalancer, {"default_pools": ["a"], "country_pools": {"de": ["a"]}}, "two capital letters"),
        (LoadBalancer, {"default_pools": ["a"], "region_pools": {"EU": ["a"]}}, "WNAM"),
        (Node, {"latitude": 91}, "less than or equal to 90"),
    ],
)
def test_refusals(model, body, message):
    with pytest.raises(ValidationError, match=message):
        model.model_validate(body)


def test_defaults_are_cloudflares():
    monitor = Monitor()
    assert (monitor.type, monitor.interval_s, monitor.timeout_s, monitor.retries) == ("http", 60, 5, 2)
    assert (monitor.path, monitor.expected_codes, monitor.follow_redirects) == ("/", ((200, 200),), False)
    pool = Pool.model_validate({"origins": [ORIGIN]})
    assert (pool.minimum_origins, pool.origins[0].weight, pool.origin_steering.policy) == (1, 1, "random")
    assert Pool.model_validate({"origins": [ORIGIN], "outlier_detection": "off"}).outlier_detection is None
    balancer = LoadBalancer.model_validate({"default_pools": ["a", "b"]})
    assert (balancer.policy, balancer.fallback, balancer.all_pools()) == ("off", "b", ("a", "b"))


@pytest.mark.parametrize(
    ("given", "policy"),
    [({}, "off"), ({"pop_pools": {"x": ["a"]}}, "geo"), ({"steering_policy": "random"}, "random")],
)
def test_the_steering_policy_left_out(given, policy):
    assert LoadBalancer.model_validate({"default_pools": ["a"], **given}).policy == policy


def test_headers_of_one_or_more_values():
    given = {"header": {"Host": "a.example", "X-Y": ["1", "2"]}}
    assert Monitor.model_validate(given).header == (("Host", "a.example"), ("X-Y", "1"), ("X-Y", "2"))


@pytest.mark.parametrize(
    ("port", "first", "last", "ports"),
    [(0, 80, 89, PortRange(80, 89)), (8000, 80, 89, PortRange(8000, 8009)), (65535, 80, 89, PortRange(65535, 65535))],
)
def test_ports_of_an_origin(port, first, last, ports):
    assert origin_ports(port, PortRange(first, last)) == ports
