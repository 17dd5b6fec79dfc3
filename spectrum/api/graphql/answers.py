"""Answers to GraphQL queries: each node is one question to the store."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    execute,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import VariablesInAllowedPositionRule

from spectrum.api.access import Call
from spectrum.api.analytics.times import DEFAULT_RANGE_S
from spectrum.api.analytics.visible import visible_to
from spectrum.api.envelope import ApiError
from spectrum.api.graphql.attacks import attack_groups, attacks_questions
from spectrum.api.graphql.filters import TIMES, GraphQLFilterFault, TimeRange, read
from spectrum.api.graphql.schema import (
    CONFIDENCE,
    CONFIDENCE_METRICS,
    MAX_FIELDS,
    MAX_PAGE,
    TABLE_OF,
    MetricPlace,
    dimensions_of,
    make_schema,
    places,
    settings_of,
)
from spectrum.api.graphql.tcp_protection import DERIVED, compared, merged, only
from spectrum.api.graphql.tcp_protection import NODES as TCP_NODES
from spectrum.api.kinds.times import timestamp
from spectrum.core.analytics.columns import TABLES
from spectrum.core.analytics.confidence import interval_of
from spectrum.core.analytics.metrics import VARIANCES
from spectrum.core.analytics.plan import MAX_POINTS
from spectrum.core.analytics.question import Condition, Question, QuestionFault, Row, Sorting, bucket_starts
from spectrum.store.objects import StoredObject

MAX_TOKENS = 5000
# Fragments count as often as they are spread: validation compares fields pairwise.
MAX_SELECTIONS = 1000
MAX_NODES = 20
MAX_ZONES = 10
BAD_QUERY = 1002
# The default limit of the age of single records.
_KEEP_S = 400 * 86400
# Clients write `String!` for the type `string`.
_RULES = tuple(rule for rule in specified_rules if rule is not VariablesInAllowedPositionRule)


@dataclass(frozen=True, slots=True)
class _Owner:
    """An account or a zone, and the request in it."""

    call: Call
    tag: str


@dataclass(slots=True)
class _Asked:
    """A request that is being answered."""

    call: Call
    nodes: int = 0


async def answered(call: Call, body: Any) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer of a request.

    Args:
        call: The request.
        body: The decoded JSON.
    """
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        return _failed(400, [GraphQLError('expected {"query": "...", "variables": {...}}')])
    variables, operation = body.get("variables"), body.get("operationName")
    if not isinstance(variables, dict | None) or not isinstance(operation, str | None):
        return _failed(400, [GraphQLError("variables is an object, operationName a text")])
    try:
        document = parse(body["query"], max_tokens=MAX_TOKENS)
        faults = _faults(document)
    except (GraphQLError, RecursionError) as exc:
        faults = [exc if isinstance(exc, GraphQLError) else GraphQLError("it is nested too deep")]
    if faults:
        return _failed(400, faults)
    return await _executed(call, document, variables, operation)


def _faults(document: DocumentNode) -> list[GraphQLError]:
    if _selections(document) > MAX_SELECTIONS:
        message = f"a query has at most {MAX_SELECTIONS} fields, those of fragments as often as these are spread"
        return [GraphQLError(message)]
    return validate(_schema(), document, _RULES, max_errors=5)


def _selections(document: DocumentNode) -> int:
    """Return the number of fields and fragments that a document selects, fragments as often as they are spread."""
    named = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    known: dict[str, int] = {}

    def of(selections: SelectionSetNode | None) -> int:
        return sum(1 + of_one(one) for one in selections.selections) if selections is not None else 0

    def of_one(one: Any) -> int:
        if not isinstance(one, FragmentSpreadNode):
            return of(one.selection_set)
        name = one.name.value
        if name not in known:
            known[name] = 0  # ends recursion; validation refuses recursive fragments
            known[name] = of(named[name].selection_set) if name in named else 0
        return known[name]

    own = (OperationDefinitionNode, FragmentDefinitionNode)
    return sum(of(one.selection_set) for one in document.definitions if isinstance(one, own))


async def _executed(
    call: Call, document: DocumentNode, variables: dict[str, Any] | None, operation: str | None
) -> tuple[int, dict[str, Any]]:
    found = execute(
        _schema(), document, context_value=_Asked(call), variable_values=variables, operation_name=operation
    )
    result = found if not hasattr(found, "__await__") else await found
    if result.errors:
        return _failed(max(map(_status, result.errors)), result.errors)
    return 200, {"data": result.data, "errors": None}


def _status(fault: GraphQLError) -> int:
    if isinstance(fault.original_error, ApiError):
        return fault.original_error.status
    return 400 if fault.original_error is None else 500


def _failed(status: int, faults: Iterable[GraphQLError]) -> tuple[int, dict[str, Any]]:
    now = timestamp(time.time())
    shown = [
        {"message": fault.message, "path": fault.path or [], "extensions": {"timestamp": now}}
        if _status(fault) != 500
        else {"message": "Internal error", "path": fault.path or [], "extensions": {"timestamp": now}}
        for fault in faults
    ]
    return status, {"data": None, "errors": shown}


@cache
def _schema() -> GraphQLSchema:
    settings = {node: settings_of(node, _KEEP_S) for node in TABLE_OF}
    return make_schema(_groups, _accounts, _zones, _budget, settings, _attacks, _confidence)


def _accounts(_: Any, info: GraphQLResolveInfo[Any], **given: Any) -> list[_Owner]:
    call: Call = info.context.call
    account = call.catalogue.get("accounts", str(given["filter"]["accountTag"]))
    if account is None or not call.caller.may("analytics", False, account.name):
        raise ApiError(403, BAD_QUERY, "not authorized for that account")
    return [_Owner(replace(call, account=account), account.id)]


def _zones(_: Any, info: GraphQLResolveInfo[Any], **given: Any) -> list[_Owner]:
    call: Call = info.context.call
    wanted = given.get("filter") or {}
    limit = _limit(given.get("limit", MAX_ZONES), MAX_ZONES)
    found = [zone for zone in call.catalogue.all("zones") if _may(call, zone)]
    named = [str(tag) for tag in [*(wanted.get("zoneTag_in") or []), wanted.get("zoneTag")] if tag is not None]
    if named:
        by_id = {zone.id: zone for zone in found}
        if not set(named) <= set(by_id):
            raise ApiError(403, BAD_QUERY, "not authorized for that zone")
        found = [by_id[tag] for tag in dict.fromkeys(named)]
    found = sorted((zone for zone in found if zone.id > str(wanted.get("zoneTag_gt") or "")), key=lambda zone: zone.id)
    owners = []
    for zone in found[:limit]:
        account = call.catalogue.named("accounts", call.catalogue.owners(zone)[0])
        owners.append(_Owner(replace(call, account=account, zone=zone), zone.id))
    return owners


def _may(call: Call, zone: StoredObject) -> bool:
    return call.caller.may("analytics", False, call.catalogue.owners(zone)[0], zone.name)


def _budget(_: Any, info: GraphQLResolveInfo[Any]) -> int:
    call: Call = info.context.call
    return call.context.asking.left_of(call.caller)


def _limit(given: Any, most: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= most:
        raise ApiError(400, BAD_QUERY, f"limit: {given!r} is not from 1 to {most}")
    return given


async def _groups(name: str, owner: _Owner, info: GraphQLResolveInfo[Any], given: Mapping[str, Any]) -> list[Any]:
    _count_node(info)
    node = (_TcpNode if name in TCP_NODES else _Node)(name, owner, _selected(info), given)
    try:
        question = node.question(time.time())
    except (QuestionFault, GraphQLFilterFault) as exc:
        raise ApiError(400, BAD_QUERY, str(exc)) from exc
    found = await owner.call.ask(question)
    return node.groups(found.rows)


async def _attacks(owner: _Owner, info: GraphQLResolveInfo[Any], **given: Any) -> list[Any]:
    _count_node(info)
    try:
        where, limits = read(TABLES["attacks"], given["filter"])
    except GraphQLFilterFault as exc:
        raise ApiError(400, BAD_QUERY, str(exc)) from exc
    since, until = _span(limits, time.time())
    limit = _limit(given.get("limit"), MAX_PAGE)
    questions = attacks_questions(since, until, where, visible_to(owner.call))
    answers = [(await owner.call.ask(one)).rows for one in questions]
    return attack_groups(answers, given.get("orderBy") or (), limit)


def _confidence(group: Mapping[str, Any], level: Any) -> dict[str, Any] | None:
    """Return the confidence intervals of a group; nothing without a given level, as Cloudflare does."""
    if level is None:
        return None
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise ApiError(400, BAD_QUERY, f"confidence: level: {level!r} is not between 0 and 1, such as 0.95")
    values = group[CONFIDENCE]
    return {"level": level, "sum": {name: _interval(name, values, level) for name in VARIANCES}}


def _interval(name: str, values: Mapping[str, Any], level: float) -> dict[str, Any]:
    """Return the interval of a sum: of samples, or exact, for kernel counters."""
    found = interval_of(values[name], values.get(VARIANCES[name], 0.0), level)
    return {**found._asdict(), "sampleSize": values.get("samples", values["packets"])}


def _count_node(info: GraphQLResolveInfo[Any]) -> None:
    asked: _Asked = info.context
    asked.nodes += 1
    if asked.nodes > MAX_NODES:
        raise ApiError(400, BAD_QUERY, f"a query has at most {MAX_NODES} nodes")


def _span(limits: TimeRange, now: float) -> tuple[float, float]:
    """Return the time span of a filter, by default the last hours."""
    until = now if limits.until_us is None else limits.until_us / 1e6
    return until - DEFAULT_RANGE_S if limits.since_us is None else limits.since_us / 1e6, until


class _Node:
    """A node of a query.

    Args:
        name: Its name.
        owner: The account or zone.
        selected: The selected names, by the field that they are in; "" for those of the group itself.
        given: Its arguments.
    """

    def __init__(
        self, name: str, owner: _Owner, selected: Mapping[str, Sequence[str]], given: Mapping[str, Any]
    ) -> None:
        self._table = table = TABLE_OF[name]
        self._owner = owner
        self._given = given
        self._limit = _limit(given.get("limit"), MAX_PAGE)
        self._by = dimensions_of(name)
        named = selected.get("dimensions", ())
        self._dimensions = [name for name in named if name in self._by]
        self._times = [name for name in named if name in TIMES and name not in self._by]
        self._places = [one for one in places(table) if one.name in selected.get(one.home, ())]
        self._confidence = CONFIDENCE_METRICS[table] if CONFIDENCE in selected.get("", ()) else ()
        self._order: list[tuple[str, bool]] = list(given.get("orderBy") or ())
        self._range_s = 0.0

    def question(self, now: float) -> Question:
        """Return the question of the node.

        Raises:
            QuestionFault: If it is invalid.
            GraphQLFilterFault: If its filter is invalid.
        """
        where, limits = self._filter()
        since, until = _span(limits, now)
        self._range_s = until - since
        self._check_order()
        metrics = self._metrics()
        if len(metrics) + len(self._dimensions) > MAX_FIELDS:
            raise QuestionFault("metrics", f"more than {MAX_FIELDS} fields")
        bucket = min((TIMES[name] for name in self._times), default=None)
        limit = self._limit
        if bucket is not None:
            starts = len(bucket_starts(since, until, bucket))
            limit = max(1, min(limit, MAX_POINTS // max(1, starts)))
        return Question(
            self._table,
            tuple(metrics),
            tuple(self._by[name].name for name in self._dimensions),
            since,
            until,
            where=where,
            bucket=bucket,
            order=() if bucket is not None else tuple(self._sorting()),
            limit=limit,
            visible=visible_to(self._owner.call),
        )

    def _filter(self) -> tuple[Condition | None, TimeRange]:
        return read(TABLES[self._table], self._given["filter"])

    def _metrics(self) -> list[str]:
        """Return the selected metrics; any one if none is selected."""
        found = dict.fromkeys([*(one.metric for one in self._placed()), *self._confidence])
        return list(found) or [places(self._table)[0].metric]

    def _placed(self) -> list[MetricPlace]:
        """Return the metrics that are selected, or sorted by."""
        sorted_by = {name for name, _ in self._order}
        return [one for one in places(self._table) if one in self._places or _order_name(one) in sorted_by]

    def _check_order(self) -> None:
        for name, _ in self._order:
            if (name in self._by and name not in self._dimensions) or (name in TIMES and name not in self._times):
                raise QuestionFault("order", f"orderBy: {name} is not among the dimensions that are asked for")

    def _sorting(self) -> Iterable[Sorting]:
        metrics = {_order_name(one): one.metric for one in places(self._table)}
        for name, descending in self._order:
            yield Sorting(metrics[name] if name in metrics else self._by[name].name, descending)

    def groups(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the groups of rows."""
        shown = self._shown(rows)
        if self._times:
            shown = self._ordered(shown)
        return shown[: self._limit]

    def _shown(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        metrics = self._metrics()
        begin = 1 if self._times else 0
        shown = []
        for row in rows:
            values = dict(zip(metrics, row[begin + len(self._dimensions) :], strict=True))
            group: dict[str, Any] = {"dimensions": dict(zip(self._dimensions, row[begin:], strict=False))}
            for name in self._times:
                group["dimensions"][name] = _time(name, row[0])
            for one in self._placed():
                into = group.setdefault(one.home, {}) if one.home else group
                into[one.name] = self._value(one, values[one.metric])
            group |= {CONFIDENCE: values} if self._confidence else {}
            shown.append(group)
        return shown

    def _value(self, place: MetricPlace, value: Any) -> Any:
        if place.per_s is None or value is None:
            return value
        return value / (place.per_s or self._range_s)

    def _ordered(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        homes = {_order_name(one): one for one in places(self._table)}
        for name, descending in reversed(self._order):

            def key(group: dict[str, Any], name: str = name) -> Any:
                one = homes.get(name)
                if one is None:
                    return group["dimensions"][name]
                value = (group[one.home] if one.home else group)[one.name]
                return float("-inf") if value is None else value

            groups = sorted(groups, key=key, reverse=descending)
        return groups


class _TcpNode(_Node):
    """The node of TCP protection: two of its dimensions are derived from one column."""

    def question(self, now: float) -> Question:
        """Return the question of the node: groups of verdicts, which are merged afterwards."""
        found = super().question(now)
        columns = tuple(dict.fromkeys(found.dimensions))
        if not self._is_made:
            return found
        limit = found.limit if found.bucket is not None else MAX_PAGE
        return replace(found, dimensions=columns, order=(), limit=limit)

    @property
    def _is_made(self) -> bool:
        return any(name in DERIVED for name in self._dimensions)

    def _filter(self) -> tuple[Condition | None, TimeRange]:
        where, limits = read(TABLES[self._table], self._given["filter"], DERIVED, compared)
        return only(where), limits

    def groups(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the groups of rows."""
        if not self._is_made:
            return super().groups(rows)
        begin = 1 if self._times else 0
        columns = list(dict.fromkeys(self._by[name].name for name in self._dimensions))
        places_of = [(name, begin + columns.index(self._by[name].name)) for name in self._dimensions]
        end = begin + len(columns)
        made = (
            (
                (*row[:begin], *(DERIVED[name](row[at]) if name in DERIVED else row[at] for name, at in places_of)),
                tuple(row[end:]),
            )
            for row in rows
        )
        return self._ordered(self._shown(merged(made)))[: self._limit]


def _order_name(place: MetricPlace) -> str:
    return "_".join(filter(None, (place.home, place.name)))


def _time(name: str, start: int) -> str:
    at = datetime.fromtimestamp(start // TIMES[name] * TIMES[name], UTC)
    return at.strftime("%Y-%m-%d" if name == "date" else "%Y-%m-%dT%H:%M:%SZ")


def _selected(info: GraphQLResolveInfo[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for home, field in _fields(info, (node.selection_set for node in info.field_nodes)):
        found.setdefault("", []).append(home)
        if field.selection_set is not None:
            found.setdefault(home, []).extend(name for name, _ in _fields(info, [field.selection_set]))
    return {home: list(dict.fromkeys(names)) for home, names in found.items()}


def _fields(info: GraphQLResolveInfo[Any], sets: Iterable[SelectionSetNode | None]) -> Iterable[tuple[str, FieldNode]]:
    """Yield the fields of selections, also those of fragments, by their names in the schema."""
    for one in sets:
        for selection in one.selections if one is not None else ():
            if isinstance(selection, FieldNode):
                yield selection.name.value, selection
            elif isinstance(selection, FragmentSpreadNode):
                yield from _fields(info, [info.fragments[selection.name.value].selection_set])
            else:
                yield from _fields(info, [selection.selection_set])  # type: ignore[attr-defined]
