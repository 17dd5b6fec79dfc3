from graphql import GraphQLNonNull, build_client_schema, introspection_from_schema, print_schema

from spectrum.api.graphql.schema import NODES, OF_ZONES, make_schema, places, settings_of
from spectrum.api.graphql.tcp_protection import NODES as TCP_NODES
from spectrum.core.analytics.columns import TABLES
from spectrum.core.analytics.dimensions import can_group
from spectrum.core.analytics.metrics import METRICS, VARIANCES

SCHEMA = make_schema(*[lambda *_: None] * 4, {}, *[lambda *_: None] * 2)
TEXT = print_schema(SCHEMA)


def test_every_column_and_metric_is_there():
    for table, node in NODES.items():
        group = SCHEMA.type_map[node]
        dimensions = SCHEMA.type_map[f"{node}_dimensions"].fields
        assert {one.graphql for one in TABLES[table].columns if can_group(one)} <= set(dimensions)
        assert {place.metric for place in places(table)} == set(METRICS[table]) - set(VARIANCES.values())
        for place in places(table):
            home = group.fields[place.home].type.of_type if place.home else group
            assert place.name in home.fields


def test_the_shapes_are_those_of_cloudflare():
    node = "spectrumNetworkAnalyticsAdaptiveGroups"
    assert f"{node}(filter: {node}_filter!, limit: uint64!, orderBy: [{node}_orderBy!])" in TEXT
    assert "accounts(filter: AccountFilter!): [account!]!" in TEXT
    assert "cost: uint64!" in TEXT
    network = SCHEMA.type_map["spectrumNetworkAnalyticsAdaptiveGroups"].fields
    assert set(network) == {"sum", "avg", "confidence", "dimensions"}
    assert {"bits", "packets"} <= set(network["sum"].type.of_type.fields)
    assert {"bitRate", "packetRateFiveMinutes"} <= set(network["avg"].type.of_type.fields)
    orders = SCHEMA.type_map["spectrumNetworkAnalyticsAdaptiveGroups_orderBy"].values
    assert {"sum_bits_DESC", "avg_bitRate_DESC", "datetimeHour_ASC"} <= set(orders)
    assert not any(name.startswith("count") for name in orders)
    filters = SCHEMA.type_map["spectrumEventsAdaptiveGroups_filter"].fields
    for field in ("app_like", "app_in", "edgePort_geq", "datetime_lt", "date", "AND", "OR"):
        assert not isinstance(filters[field].type, GraphQLNonNull)
    assert str(filters["clientAsn"].type) == "uint32" and "edgePort_like" not in filters


def test_zones_have_what_names_apps():
    zone = SCHEMA.type_map["zone"].fields
    assert {NODES[table] for table in OF_ZONES} <= set(zone) and NODES["health"] not in zone


def test_tcp_protection_has_two_names():
    for node in TCP_NODES:
        made = SCHEMA.type_map[f"{node}_dimensions"].fields
        network = set(SCHEMA.type_map["spectrumNetworkAnalyticsAdaptiveGroups_dimensions"].fields)
        assert set(made) == network - {"ruleName"} | {"mitigationReason", "verdict"}
        filters = SCHEMA.type_map[f"{node}_filter"].fields
        assert {"verdict", "mitigationReason_in", "sourcePort_gt"} <= set(filters)
        assert "mitigationReason_like" not in filters and "ruleName" not in filters
        assert node in SCHEMA.type_map["account"].fields and node not in SCHEMA.type_map["zone"].fields
        assert "dimensions.mitigationReason" in settings_of(node, 1.0)["availableFields"]


def test_tools_can_ask_for_the_schema():
    assert build_client_schema(introspection_from_schema(SCHEMA)).query_type.name == "Query"


def test_a_node_tells_of_itself():
    told = settings_of(NODES["events"], 86400.0)
    assert (told["enabled"], told["maxPageSize"], told["notOlderThan"]) == (True, 10_000, 86400)
    fields = {"count", "sum.bytes", "quantiles.durationP99", "dimensions.app", "dimensions.date"}
    assert fields <= set(told["availableFields"])
