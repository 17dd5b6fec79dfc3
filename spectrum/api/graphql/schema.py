"""The types of GraphQL, derived from the tables' columns and metrics.

They are built with graphql-core itself, without a library of declared classes: the table of columns is the only source.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
)

from spectrum.api.graphql.attacks import FIELDS as ATTACK_FIELDS
from spectrum.api.graphql.attacks import NODE as ATTACKS_NODE
from spectrum.api.graphql.filters import OF_LISTS, TIMES, comparable, dimensions, endings_of
from spectrum.api.graphql.tcp_protection import DERIVED, VERDICT
from spectrum.api.graphql.tcp_protection import ENDINGS as DERIVED_ENDINGS
from spectrum.api.graphql.tcp_protection import NODES as TCP_NODES
from spectrum.api.graphql.tcp_protection import TABLE as TCP_TABLE
from spectrum.core.analytics.columns import TABLES, Column, ColumnKind, Table
from spectrum.core.analytics.metrics import METRICS, VARIANCES, Metric, MetricKind

# The node of each table.
NODES: Mapping[str, str] = {
    "events": "spectrumEventsAdaptiveGroups",
    "packets": "spectrumNetworkAnalyticsAdaptiveGroups",
    "health": "spectrumHealthAdaptiveGroups",
    "attacks": "dosdNetworkAnalyticsAdaptiveGroups",
}
# The table of each node.
TABLE_OF: Mapping[str, str] = {node: table for table, node in NODES.items()} | dict.fromkeys(TCP_NODES, TCP_TABLE.name)
OF_ZONES = ("events", "packets", "attacks")
MAX_PAGE = 10_000
MAX_FIELDS = 30
_SCALARS = {
    name: GraphQLScalarType(name)
    for name in ("string", "uint8", "uint16", "uint32", "uint64", "int64", "float64", "bool", "Time", "Date")
}
_OF_KINDS = {
    ColumnKind.TEXT: "string",
    ColumnKind.CATEGORY: "string",
    ColumnKind.BOOLEAN: "bool",
    ColumnKind.U8: "uint8",
    ColumnKind.U16: "uint16",
    ColumnKind.U32: "uint32",
    ColumnKind.U64: "uint64",
    ColumnKind.OPTIONAL: "float64",
}
_PERCENTILES = {"Median": "P50", "90th": "P90", "99th": "P99"}
# The field of a group that contains a metric.
_HOMES = {
    MetricKind.SUM: "sum",
    MetricKind.DISTINCT: "uniq",
    MetricKind.AVERAGE: "avg",
    MetricKind.QUANTILE: "quantiles",
    MetricKind.LOWEST: "min",
    MetricKind.HIGHEST: "max",
}
# The field with the confidence intervals of a group, and what it needs: sums, the number of samples, variances.
CONFIDENCE = "confidence"
CONFIDENCE_METRICS: Mapping[str, tuple[str, ...]] = {
    "packets": (*VARIANCES, "samples", *VARIANCES.values()),
    "attacks": tuple(VARIANCES),
}
# `avg` of packets: bits and packets per second, over the whole time, or over the time of a group.
RATES = {"bitRate": "bits", "packetRate": "packets"}
RATE_TIMES = {
    "": 0,
    "TenSeconds": 10,
    "Minute": 60,
    "FiveMinutes": 300,
    "FifteenMinutes": 900,
    "Hour": 3600,
    "Day": 86400,
}


@dataclass(frozen=True, slots=True)
class MetricPlace:
    """The place of a metric in a group: `sum { bytes }`; `home` is empty for `count`.

    Attributes:
        home: The field of the group.
        name: The field in it.
        metric: The metric's name.
        per_s: Seconds by which the metric is divided; 0: by the whole time; None: not divided.
    """

    home: str
    name: str
    metric: str
    per_s: int | None = None


@cache
def places(table: str) -> tuple[MetricPlace, ...]:
    """Return the places of a table's metrics."""
    return tuple(_places(table))


def _places(table: str) -> Iterator[MetricPlace]:
    for metric in METRICS[table].values():
        if metric.name in VARIANCES.values():
            continue
        if metric.name == "count":
            yield MetricPlace("", "count", "count")
        else:
            yield MetricPlace(_HOMES[metric.kind], _name(metric), metric.name)
    if table in ("packets", "attacks"):
        for rate, of in RATES.items():
            for ending, seconds in RATE_TIMES.items():
                yield MetricPlace("avg", rate + ending, of, seconds)


def _name(metric: Metric) -> str:
    if metric.sql:
        return metric.name
    for ending in ("Avg", "Median", "90th", "99th", "Min", "Max"):
        if metric.name.endswith(ending):
            return metric.name.removesuffix(ending) + _PERCENTILES.get(ending, "")
    raise AssertionError(f"a metric without an ending: {metric.name}")


# Returns the confidence intervals of a group, at a level.
ConfidenceResolver = Callable[[Mapping[str, Any], Any], Any]
# Returns the groups of a node, for an account or a zone.
NodeResolver = Callable[[str, Any, GraphQLResolveInfo[Any], Mapping[str, Any]], Awaitable[Any]]


def make_schema(
    resolve_node: NodeResolver,
    accounts: Callable[..., Any],
    zones: Callable[..., Any],
    budget: Callable[..., Any],
    settings: Mapping[str, Any],
    resolve_attacks: Callable[..., Any],
    resolve_confidence: ConfidenceResolver,
) -> GraphQLSchema:
    """Return the schema.

    Args:
        resolve_node: Answers a node.
        accounts: Resolves `viewer { accounts }`.
        zones: Resolves `viewer { zones }`.
        budget: Resolves `viewer { budget }`.
        settings: The settings of each node.
        resolve_attacks: Answers the node of attacks.
        resolve_confidence: Answers `confidence` of a group.
    """
    confidence = _confidence_field(resolve_confidence)
    nodes = {node: _node(node, resolve_node, confidence) for node in TABLE_OF}
    attacks = _attacks_node(resolve_attacks)
    account = _owner("account", "accountTag", nodes, settings, attacks)
    of_zones = {NODES[table]: nodes[NODES[table]] for table in OF_ZONES}
    zone = _owner("zone", "zoneTag", of_zones, settings, attacks)
    string, uint64 = _SCALARS["string"], _SCALARS["uint64"]
    account_filter = GraphQLInputObjectType("AccountFilter", {"accountTag": GraphQLInputField(GraphQLNonNull(string))})
    zone_filter = GraphQLInputObjectType(
        "ZoneFilter",
        {
            "zoneTag": GraphQLInputField(string),
            "zoneTag_in": GraphQLInputField(GraphQLList(GraphQLNonNull(string))),
            "zoneTag_gt": GraphQLInputField(string),
        },
    )
    viewer = GraphQLObjectType(
        "viewer",
        {
            "accounts": GraphQLField(
                _list(account), {"filter": GraphQLArgument(GraphQLNonNull(account_filter))}, accounts
            ),
            "zones": GraphQLField(
                _list(zone), {"filter": GraphQLArgument(zone_filter), "limit": GraphQLArgument(uint64)}, zones
            ),
            "budget": GraphQLField(GraphQLNonNull(uint64), resolve=budget),
            "organizations": GraphQLField(
                _list(GraphQLObjectType("organization", {"organizationTag": GraphQLField(string)})),
                resolve=lambda *_: [],
            ),
        },
    )
    query = GraphQLObjectType(
        "Query",
        {
            "viewer": GraphQLField(viewer, resolve=lambda *_: {}),
            "cost": GraphQLField(GraphQLNonNull(uint64), resolve=lambda *_: 1),
        },
    )
    return GraphQLSchema(query, types=[*_SCALARS.values(), GraphQLInt, GraphQLFloat, GraphQLID])


def _list(of: Any) -> Any:
    return GraphQLNonNull(GraphQLList(GraphQLNonNull(of)))


def _owner(
    name: str,
    tag: str,
    nodes: Mapping[str, GraphQLField],
    settings: Mapping[str, Any],
    attacks: GraphQLField,
) -> GraphQLObjectType:
    told = GraphQLObjectType(f"{name}Settings", {node: GraphQLField(_settings_type()) for node in nodes})
    fields = {**nodes, ATTACKS_NODE: attacks}
    fields[tag] = GraphQLField(GraphQLNonNull(_SCALARS["string"]), resolve=lambda owner, _: owner.tag)
    fields["settings"] = GraphQLField(GraphQLNonNull(told), resolve=lambda *_: settings)
    return GraphQLObjectType(name, fields)


@cache
def _settings_type() -> GraphQLObjectType:
    kinds = {
        "enabled": "bool",
        "maxPageSize": "uint64",
        "maxNumberOfFields": "uint64",
        "maxDuration": "uint64",
        "notOlderThan": "uint64",
    }
    fields = {name: GraphQLField(GraphQLNonNull(_SCALARS[kind])) for name, kind in kinds.items()}
    fields["availableFields"] = GraphQLField(_list(_SCALARS["string"]))
    return GraphQLObjectType("nodeSettings", fields)


def dimensions_of(node: str) -> dict[str, Column]:
    """Return the columns of a node's dimensions; a column may have several dimensions."""
    found = dimensions(TABLES[TABLE_OF[node]])
    if node not in TCP_NODES:
        return found
    return {name: column for name, column in found.items() if column is not VERDICT} | dict.fromkeys(DERIVED, VERDICT)


def settings_of(node: str, keep_s: float) -> dict[str, Any]:
    """Return the settings of a node: its limits."""
    table = TABLE_OF[node]
    return {
        "enabled": True,
        "maxPageSize": MAX_PAGE,
        "maxNumberOfFields": MAX_FIELDS,
        "maxDuration": int(keep_s),
        "notOlderThan": int(keep_s),
        "availableFields": [
            *(f"{one.home}.{one.name}".removeprefix(".") for one in places(table)),
            *(f"dimensions.{name}" for name in (*dimensions_of(node), *_times(table))),
        ],
    }


def _times(table: str) -> Iterator[str]:
    """Yield the dimensions of a table that are times; the instant itself is only for filters."""
    yield from (name for name, length in TIMES.items() if length)


def _confidence_field(resolve: ConfidenceResolver) -> GraphQLField:
    bounds = {name: GraphQLField(_SCALARS["float64"]) for name in ("estimate", "lower", "upper")}
    bounds["sampleSize"] = GraphQLField(_SCALARS["uint64"])
    interval = GraphQLField(GraphQLObjectType("confidenceInterval", bounds))
    sums = GraphQLObjectType("confidenceSum", dict.fromkeys(VARIANCES, interval))
    told = {"level": GraphQLField(_SCALARS["float64"]), "sum": GraphQLField(GraphQLNonNull(sums))}
    return GraphQLField(
        GraphQLObjectType("confidence", told),
        {"level": GraphQLArgument(_SCALARS["float64"])},
        lambda group, _, level=None: resolve(group, level),
    )


def _node(stem: str, resolve: NodeResolver, confidence: GraphQLField) -> GraphQLField:
    table = TABLE_OF[stem]
    homes: dict[str, dict[str, GraphQLField]] = {}
    fields: dict[str, GraphQLField] = {}
    for one in places(table):
        kind = "float64" if one.home in ("avg", "quantiles", "min", "max") else "uint64"
        made = GraphQLField(_SCALARS[kind])
        if one.home:
            homes.setdefault(one.home, {})[one.name] = made
        else:
            fields[one.name] = made
    for home, inner in homes.items():
        fields[home] = GraphQLField(GraphQLNonNull(GraphQLObjectType(f"{stem}_{home}", inner)))
    by = {name: GraphQLField(_scalar_of(column)) for name, column in dimensions_of(stem).items()}
    by |= {name: GraphQLField(_SCALARS["Date" if name == "date" else "Time"]) for name in _times(table)}
    fields["dimensions"] = GraphQLField(GraphQLNonNull(GraphQLObjectType(f"{stem}_dimensions", by)))
    if table in CONFIDENCE_METRICS:
        fields[CONFIDENCE] = confidence
    group = GraphQLObjectType(stem, fields)
    arguments = {
        "filter": GraphQLArgument(GraphQLNonNull(_filter_type(TABLES[table], stem, stem in TCP_NODES))),
        "limit": GraphQLArgument(GraphQLNonNull(_SCALARS["uint64"])),
        "orderBy": GraphQLArgument(GraphQLList(GraphQLNonNull(_order_type(table, stem, by)))),
    }

    async def resolved(owner: Any, info: GraphQLResolveInfo[Any], **given: Any) -> Any:
        return await resolve(stem, owner, info, given)

    return GraphQLField(_list(group), arguments, resolved)


def _attacks_node(resolve: Callable[..., Any]) -> GraphQLField:
    group = GraphQLObjectType(
        ATTACKS_NODE, {name: GraphQLField(_SCALARS[kind]) for name, kind in ATTACK_FIELDS.items()}
    )
    ways = {f"{name}_{way}": (name, way == "DESC") for name in ATTACK_FIELDS for way in ("ASC", "DESC")}
    arguments = {
        "filter": GraphQLArgument(GraphQLNonNull(_filter_type(TABLES["attacks"], ATTACKS_NODE))),
        "limit": GraphQLArgument(GraphQLNonNull(_SCALARS["uint64"])),
        "orderBy": GraphQLArgument(GraphQLList(GraphQLNonNull(GraphQLEnumType(f"{ATTACKS_NODE}_orderBy", ways)))),
    }
    return GraphQLField(_list(group), arguments, resolve)


def _scalar_of(column: Column) -> GraphQLScalarType:
    return _SCALARS[_OF_KINDS[column.kind]]


def _filter_type(table: Table, stem: str, is_of_tcp: bool = False) -> GraphQLInputObjectType:
    name = f"{stem}_filter"

    def fields() -> dict[str, GraphQLInputField]:
        made = {}
        compared = {field: (column, tuple(endings_of(column))) for field, column in comparable(table).items()}
        if is_of_tcp:
            compared = {field: one for field, one in compared.items() if one[0] is not VERDICT}
            compared |= dict.fromkeys(DERIVED, (VERDICT, DERIVED_ENDINGS))
        for field, (column, endings) in compared.items():
            scalar = _scalar_of(column)
            for ending in endings:
                kind = GraphQLList(GraphQLNonNull(scalar)) if ending in OF_LISTS else scalar
                made[field + ending] = GraphQLInputField(kind)
        for time in TIMES:
            scalar = _SCALARS["Date" if time == "date" else "Time"]
            for ending in ("", "_gt", "_lt", "_geq", "_leq"):
                made[time + ending] = GraphQLInputField(scalar)
        for both in ("AND", "OR"):
            made[both] = GraphQLInputField(GraphQLList(GraphQLNonNull(made_type)))
        return made

    made_type = GraphQLInputObjectType(name, fields)
    return made_type


def _order_type(table: str, stem: str, by: Mapping[str, Any]) -> GraphQLEnumType:
    names = [*by, *("_".join(filter(None, (one.home, one.name))) for one in places(table))]
    values = {f"{name}_{way}": (name, way == "DESC") for name in names for way in ("ASC", "DESC")}
    return GraphQLEnumType(f"{stem}_orderBy", values)
