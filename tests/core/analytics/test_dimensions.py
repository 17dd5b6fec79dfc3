import pytest

from spectrum.core.analytics.columns import EVENTS, HEALTH, MINUTES, PACKETS
from spectrum.core.analytics.dimensions import ColumnFilter, can_compare, can_group, find_dimension, is_address


def test_a_dimension_is_found_by_either_name():
    assert find_dimension(EVENTS, "app") is find_dimension(EVENTS, "appID") is EVENTS.by_name["app"]
    assert find_dimension(EVENTS, "ipVersion").name == "ip_version"
    with pytest.raises(ValueError, match="events have no 'aap'; did you mean"):
        find_dimension(EVENTS, "aap")
    with pytest.raises(ValueError, match="known here"):
        find_dimension(EVENTS, "")


def test_what_can_be_grouped_and_compared():
    assert can_group(EVENTS.by_name["app"]) and can_group(EVENTS.by_name["session"])
    assert not can_group(EVENTS.by_name["time"]) and not can_group(EVENTS.by_name["duration"])
    assert not can_group(PACKETS.by_name["header"]) and not can_compare(PACKETS.by_name["header"])
    assert can_compare(EVENTS.by_name["duration"]) and can_compare(EVENTS.by_name["client_bytes"])
    assert not can_compare(MINUTES.by_name["duration_histogram"]) and not can_compare(EVENTS.by_name["time"])
    assert is_address(EVENTS.by_name["client_ip"]) and not is_address(EVENTS.by_name["client_prefix"])


@pytest.mark.parametrize(
    ("table", "name", "given", "value"),
    [
        (EVENTS, "app", "a", "a"),
        (EVENTS, "edge_port", "22", 22),
        (EVENTS, "edge_port", 22, 22),
        (EVENTS, "duration", "0.25", 250),
        (EVENTS, "client_ip", "", ""),
        (HEALTH, "healthy", "true", 1),
        (HEALTH, "healthy", False, 0),
    ],
)
def test_values_are_read_and_written(table, name, given, value):
    found = ColumnFilter.named(table, name)
    assert found.read(given, "=") == ("=", value)
    assert found.read(found.write(value), "=") == ("=", value)


@pytest.mark.parametrize(
    ("table", "name", "given", "operator", "message"),
    [
        (EVENTS, "app", 5, "=", "app is a text"),
        (EVENTS, "edge_port", True, "=", "is a number"),
        (EVENTS, "edge_port", "1e3", "=", "is a number"),
        (EVENTS, "edge_port", 2**60, "=", "from 0 to"),
        (EVENTS, "duration", "inf", "=", "number of milliseconds"),
        (EVENTS, "duration", "nan", "=", "number of milliseconds"),
        (EVENTS, "client_ip", "10.0.0.0/40", "=", "neither"),
        (EVENTS, "client_ip", "10.0.0.0/40", "prefix", "neither"),
        (HEALTH, "healthy", "yes", "=", "true or false"),
    ],
)
def test_invalid_values(table, name, given, operator, message):
    with pytest.raises(ValueError, match=message):
        ColumnFilter.named(table, name).read(given, operator)
