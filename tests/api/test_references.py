import pytest

from spectrum.api.references import references


@pytest.mark.parametrize(
    ("section", "value", "found"),
    [
        ("apps", {"load_balancer": "lb", "zone": "example.com"}, {("load_balancers", "lb"), ("zones", "example.com")}),
        ("apps", {"edge_tls": {"certificates": ["c"]}}, {("certificates", "c")}),
        (
            "load_balancers",
            {
                "default_pools": ["a", "b"],
                "fallback_pool": "c",
                "region_pools": {"WEU": ["d"]},
                "random_steering": {"pool_weights": {"e": 0.5}},
            },
            {("pools", name) for name in "abcde"},
        ),
        ("pools", {"monitor": "m", "account": "acme"}, {("monitors", "m"), ("accounts", "acme")}),
        ("monitor_groups", {"members": [{"monitor": "m"}]}, {("monitors", "m")}),
        ("access_rules", {"apps": ["a"], "list": "l"}, {("apps", "a"), ("lists", "l")}),
        ("access_rules", {"apps": None}, set()),
        ("zones", {"account": "acme"}, {("accounts", "acme")}),
        ("pools", {"monitor": 5}, set()),
        ("others", {}, set()),
    ],
)
def test_references(section, value, found):
    assert set(references(section, value)) == found
