"""SQL statements of questions: the groups, their values over time, and histograms of durations. Names of tables and
columns come from `core.analytics.columns` alone. Values in a question are parameters.
"""

from collections.abc import Sequence

from spectrum.core.analytics.client_numbers import CLIENTS, NUMBER, OF_CLIENT
from spectrum.core.analytics.columns import MINUTES, Column, ColumnKind, Role, Table
from spectrum.core.analytics.dialects import Dialect, Statement
from spectrum.core.analytics.metrics import Metric, MetricKind
from spectrum.core.analytics.plan import QuestionPlan, TimeSlice
from spectrum.core.analytics.question import AllOf, AnyOf, Compare, Condition, Not, Value, Visible

# The columns that decide who may see a row of a table; without any only the operator may.
_OWNED_BY = {
    "events": ("app",),
    "minutes": ("app",),
    "packets": ("app",),
    "health": ("pool", "load_balancer"),
    "changes": (),
    "attacks": ("app",),
}
# Replacements for the node's own in `minutes`.
_SUM, _COUNT, _HISTOGRAM = "_sum", "_count", "_histogram"
_US_PER_MS = 1000
# Of which there is one for each address, and not for each row.
_DISTINCT_CLIENTS = "clients"


def groups_statement(plan: QuestionPlan, dialect: Dialect, limit: int) -> Statement:
    """Return the statement for the first groups, the totals, and the extremes.

    Its columns are: the dimensions (`k0`, ...), `g` (1 in the row of totals, which is the first one), `n` (rows of the
    table), the plain metrics (`m0`, ...), the lowest and the highest of each in any group (`lo0`, `hi0`, ...),
    `groups`. `n`, the lowest, the highest and `groups` are those of the first row.

    Args:
        plan: How the question is answered.
        dialect: The dialect of the store.
        limit: The number of groups.
    """
    statement = Statement()
    source = _Source(plan, dialect, statement)
    is_kept = dialect.keeps_named and plan.dimensions and all(one.kind is MetricKind.SUM for one in plan.plain)
    statement.text = _of_kept(plan, source, limit) if is_kept else _of_sets(plan, source, limit)
    return statement


def _of_sets(plan: QuestionPlan, source: "_Source", limit: int) -> str:
    """Return the text of `groups_statement` that reads the rows once, whatever the metrics and the dialect."""
    metrics, keys = plan.plain, [column.name for column in plan.dimensions]
    computed, count, rows = source.grouped(metrics)
    named = [f"{key} AS k{at}" for at, key in enumerate(keys)]
    flag = f"GROUPING({keys[0]})" if keys else "1"
    inner = f"SELECT {', '.join([*named, f'{flag} AS g', f'{count} AS n', *computed])} FROM {rows}"
    if keys:
        inner += f" GROUP BY GROUPING SETS (({', '.join(keys)}), ())"
    outer = [f"k{at}" for at in range(len(keys))] + ["g", "n"] + [f"m{at}" for at in range(len(metrics))]
    for at in range(len(metrics)):
        of_groups = f"CASE WHEN g = 0 THEN m{at} END" if keys else f"m{at}"
        outer += [f"min({of_groups}) OVER () AS lo{at}", f"max({of_groups}) OVER () AS hi{at}"]
    outer.append("sum(CASE WHEN g = 0 THEN 1 ELSE 0 END) OVER () AS groups")
    order = ", ".join(["g DESC", *_order(plan)])
    return f"SELECT {', '.join(outer)} FROM ({inner}) AS grouped ORDER BY {order} LIMIT {limit + 1}"


def _of_kept(plan: QuestionPlan, source: "_Source", limit: int) -> str:
    """Return the text of `groups_statement` for sums, where groups are computed once and read twice.

    The sum of all, and the extremes, are of the groups.
    """
    keys, values = [f"k{at}" for at in range(len(plan.dimensions))], [f"m{at}" for at in range(len(plan.plain))]
    order = _order(plan)
    grouped, first = source.kept(plan.plain, order[0], limit)
    total = [*(f"NULL AS {key}" for key in keys), "1 AS g", f"{source.count()} AS n"]
    total += [f"coalesce(sum({value}), 0) AS {value}" for value in values]
    group = [*keys, "0", "0", *values]
    for at, value in enumerate(values):
        total += [f"min({value}) AS lo{at}", f"max({value}) AS hi{at}"]
        group += ["NULL", "NULL"]
    return (
        f"SELECT * FROM (WITH grouped AS MATERIALIZED ({grouped})"
        f" SELECT {', '.join(total)}, count(*) AS groups FROM grouped"
        f" UNION ALL (SELECT {', '.join(group)}, NULL FROM {first} ORDER BY {', '.join(order)} LIMIT {limit}))"
        f" ORDER BY {', '.join(['g DESC', *order])}"
    )


def _order(plan: QuestionPlan) -> list[str]:
    """Return the order of groups, without what SQL does not compute."""
    places = {metric.name: f"m{at}" for at, metric in enumerate(plan.plain)}
    places |= {column.name: f"k{at}" for at, column in enumerate(plan.dimensions)}
    return [
        f"{places[one.by]} {'DESC' if one.descending else 'ASC'} NULLS LAST" for one in plan.order if one.by in places
    ]


def detail_statement(
    plan: QuestionPlan, dialect: Dialect, groups: Sequence[Sequence[Value]] | None, counts_rows: bool = False
) -> Statement:
    """Return the statement for the values of groups over time.

    Its columns are: `t` (the bucket's start, in seconds since 1970; 0 without buckets), `o` (1 for others), the
    dimensions, the plain metrics, and `n` (rows of the table) if these are counted.

    Args:
        plan: How the question is answered.
        dialect: The dialect of the store.
        groups: These groups, and "others" if the question asks for it; None for all groups.
        counts_rows: Whether rows are counted.
    """
    statement = Statement()
    source = _Source(plan, dialect, statement)
    others = source.narrow(groups)
    computed = _as_metrics([metric_sql(one, dialect, plan.is_rolled) for one in plan.plain])
    if counts_rows:
        computed.append("count(*) AS n")
    keys = source.keys(others)
    statement.text = (
        f"SELECT {', '.join([*keys, *computed])} FROM {source.text(plan.plain)} GROUP BY {_names(plan.dimensions)}"
    )
    return statement


def histogram_statement(
    plan: QuestionPlan, dialect: Dialect, duration: str, groups: Sequence[Sequence[Value]] | None, is_total: bool
) -> Statement:
    """Return the statement for the histogram of a duration in each group at each time.

    Its columns are: `t`, `o` and the dimensions as in `detail_statement`, `b` (the bucket of the histogram), `n` (how
    many).

    Args:
        plan: How the question is answered, from roll-ups.
        dialect: The dialect of the store.
        duration: The column of `events`.
        groups: As in `detail_statement`.
        is_total: Totals: no groups and no times.
    """
    statement = Statement()
    source = _Source(plan, dialect, statement)
    others = source.narrow(None if is_total else groups)
    keys = ["0 AS t", "0 AS o"] if is_total else source.keys(others)
    columns = [] if is_total else [column.name for column in plan.dimensions]
    if not is_total and plan.question.bucket:
        columns.append("time")
    unnested = dialect.unnested(columns, f"{duration}{_HISTOGRAM}", source.of_histogram(duration, columns))
    names = "t, o" if is_total else _names(plan.dimensions)
    statement.text = f"SELECT {', '.join(keys)}, b, sum(n) AS n FROM {unnested} AS buckets GROUP BY {names}, b"
    return statement


def rows_statement(plan: QuestionPlan, dialect: Dialect) -> Statement:
    """Return the statement for raw rows, the newest first by default."""
    statement = Statement()
    shown = ", ".join(f"{dialect.shown(column)} AS c{at}" for at, column in enumerate(plan.table.columns))
    oldest_first = any(not one.descending for one in plan.question.order)
    direction = "ASC" if oldest_first else "DESC"
    ids = "".join(f", {column.name} {direction}" for column in plan.table.having(Role.ID))
    statement.text = (
        f"SELECT {shown} FROM {_Source(plan, dialect, statement).text(())}"
        f" ORDER BY {plan.table.time} {direction}{ids} LIMIT {plan.question.limit}"
    )
    return statement


def _names(dimensions: Sequence[Column]) -> str:
    return ", ".join(["t", "o", *(f"k{at}" for at in range(len(dimensions)))])


def metric_sql(metric: Metric, dialect: Dialect, is_rolled: bool) -> str:
    """Return the aggregate of a metric; of durations in milliseconds."""
    if metric.sql:
        return metric.sql
    (column,) = metric.uses
    match metric.kind:
        case MetricKind.AVERAGE if is_rolled:
            value = f"sum({column}{_SUM}) / nullif(sum({column}{_COUNT}), 0)"
        case MetricKind.AVERAGE:
            value = f"sum({column}) / nullif(count({column}), 0)"
        case MetricKind.QUANTILE:
            value = dialect.quantile(column, metric.fraction)
        case MetricKind.LOWEST:
            value = f"min({column})"
        case _:
            value = f"max({column})"
    return f"{value} / {_US_PER_MS}"


def _as_metrics(values: Sequence[str]) -> list[str]:
    return [f"{value} AS m{at}" for at, value in enumerate(values)]


class _Source:
    """The FROM and WHERE parts of a statement.

    Args:
        plan: How the question is answered.
        dialect: The dialect of the store.
        statement: Takes the parameters.
    """

    def __init__(self, plan: QuestionPlan, dialect: Dialect, statement: Statement) -> None:
        self._plan = plan
        self._dialect = dialect
        self._statement = statement
        self._groups: Sequence[Sequence[Value]] | None = plan.question.groups

    def narrow(self, groups: Sequence[Sequence[Value]] | None) -> str:
        """Limit to these groups, or, if "others" is requested, return the condition that tells them from others."""
        if groups is None or not self._plan.dimensions:
            return ""
        if self._plan.question.others:
            return self._dialect.among(self._statement, self._plan.dimensions, groups)
        self._groups = groups
        return ""

    def keys(self, is_group: str) -> list[str]:
        """Return the expressions of GROUP BY: time, whether it is "others", dimensions."""
        bucket = self._plan.question.bucket
        start = self._dialect.start("time", bucket) if bucket else "0"
        names = [column.name for column in self._plan.dimensions]
        if is_group:
            names = [f"CASE WHEN {is_group} THEN {name} ELSE NULL END" for name in names]
        other = f"CASE WHEN {is_group} THEN 0 ELSE 1 END" if is_group else "0"
        return [f"{start} AS t", f"{other} AS o", *(f"{name} AS k{at}" for at, name in enumerate(names))]

    def text(self, metrics: Sequence[Metric]) -> str:
        """Return the table, or tables, with the columns for metrics, and the condition."""
        parts = self._plan.parts
        if not self._plan.is_rolled:
            (part,) = parts
            return f"{part.table.name} WHERE {self._condition(part)}"
        selected = [self._rolled(part, metrics) for part in parts]
        return f"({' UNION ALL '.join(selected)}) AS rolled"

    def grouped(self, metrics: Sequence[Metric]) -> tuple[list[str], str, str]:
        """Return the metrics as `m0`, ..., the number of rows, and what both are computed of.

        Sums are added up by group first: all together is then of few rows, and not of each row a second time.
        """
        plan, keys = self._plan, [column.name for column in self._plan.dimensions]
        is_distinct = any(one.name == _DISTINCT_CLIENTS for one in metrics)
        is_of_clients = is_distinct or not set(keys).isdisjoint(OF_CLIENT)
        if (
            plan.is_rolled
            or not (keys or is_distinct)
            or any(one.kind is not MetricKind.SUM and one.name != _DISTINCT_CLIENTS for one in metrics)
            or (is_distinct and not (self._dialect.has_client_numbers and set(keys) <= set(OF_CLIENT)))
        ):
            computed = [metric_sql(one, self._dialect, plan.is_rolled) for one in metrics]
            return _as_metrics(computed), "count(*)", self.text(metrics)
        values = ["count(*) AS r"] + [
            f"max(clients) AS {one.name}" if one.name == _DISTINCT_CLIENTS else f"{one.sql} AS v{at}"
            for at, one in enumerate(metrics)
        ]
        if is_of_clients and self._dialect.has_client_numbers:
            named = list(dict.fromkeys((*keys, "client_ip"))) if is_distinct else keys
            added = self._of_clients(named, values, [value.rpartition(" ")[2] for value in values])
        else:
            added = self._added(keys, values)
        computed = [
            one.sql if one.name == _DISTINCT_CLIENTS else f"coalesce(sum(v{at}), 0)" for at, one in enumerate(metrics)
        ]
        return _as_metrics(computed), "coalesce(sum(r), 0)", f"({added}) AS added"

    def kept(self, metrics: Sequence[Metric], order: str, limit: int) -> tuple[str, str]:
        """Return the query for groups (`k0`, ..., `m0`, ...), and what the first ones are selected from.

        Args:
            metrics: Sums.
            order: What groups are first sorted by, as in ORDER BY.
            limit: How many groups are wanted.
        """
        plan, dialect = self._plan, self._dialect
        keys = [column.name for column in plan.dimensions]
        values = [*_as_metrics([one.sql for one in metrics]), *(() if self._is_of_time_alone else ("count(*) AS n",))]
        names = [value.rpartition(" ")[2] for value in values]
        named = [f"{key} AS k{at}" for at, key in enumerate(keys)]
        if plan.is_rolled or not (dialect.has_client_numbers and not set(keys).isdisjoint(OF_CLIENT)):
            rows = f"SELECT {', '.join([*named, *values])} FROM {self.text(metrics)} GROUP BY {', '.join(keys)}"
            return rows, "grouped"
        if dialect.has_one_number_each and "client_ip" in keys and order.startswith("m"):
            return self._of_numbers(keys, values), self._first_of_numbers(keys, names[: len(metrics)], order, limit)
        added = [f"sum({name}) AS {name}" for name in names]
        rows = self._of_clients(keys, values, names)
        return f"SELECT {', '.join([*named, *added])} FROM ({rows}) AS added GROUP BY {', '.join(keys)}", "grouped"

    @property
    def _is_of_time_alone(self) -> bool:
        question = self._plan.question
        return not self._plan.is_rolled and all(one is None for one in (question.where, question.visible, self._groups))

    def count(self) -> str:
        """Return the number of rows of groups of `kept`; where only the time limits them, it costs nothing apart."""
        return f"(SELECT count(*) FROM {self.text(())})" if self._is_of_time_alone else "coalesce(sum(n), 0)"

    def _of_numbers(self, keys: Sequence[str], values: Sequence[str]) -> str:
        """Return sums by the number of the address, with its text only where it has none."""
        number, columns = NUMBER.name, ", ".join([*keys, NUMBER.name])
        shown = [f"{'NULL' if key in OF_CLIENT else key} AS k{at}" for at, key in enumerate(keys)]
        others = [key for key in keys if key not in OF_CLIENT]
        named = [f"{key} AS k{at}" for at, key in enumerate(keys)]
        (part,) = self._plan.parts
        of_number = f"SELECT {', '.join([number, *shown, *values])} FROM {part.table.name}"
        of_text = f"SELECT {', '.join([number, *named, *values])} FROM {part.table.name}"
        return (
            f"{of_number} WHERE {self._condition(part)} AND {number} > 0 GROUP BY {', '.join([number, *others])}"
            f" UNION ALL {of_text} WHERE {self._condition(part)} AND {number} = 0 GROUP BY {columns}"
        )

    def _first_of_numbers(self, keys: Sequence[str], names: Sequence[str], order: str, limit: int) -> str:
        """Return the groups that may be among the first ones: only these need the texts of their addresses."""
        number, (value, direction, *_) = NUMBER.name, order.split()
        last, beyond = ("min", ">=") if direction == "DESC" else ("max", "<=")
        shown = [
            f"coalesce({CLIENTS.name}.{key}, grouped.k{at}) AS k{at}" if key in OF_CLIENT else f"k{at}"
            for at, key in enumerate(keys)
        ]
        return (
            f"(SELECT {', '.join([*shown, *names])} FROM grouped LEFT JOIN {CLIENTS.name}"
            f" ON grouped.{number} = {CLIENTS.name}.{number} WHERE {value} {beyond}"
            f" (SELECT {last}({value}) FROM (SELECT {value} FROM grouped ORDER BY {order} LIMIT {limit})))"
        )

    def _added(self, keys: Sequence[str], values: Sequence[str], also: str = "") -> str:
        (part,) = self._plan.parts
        condition = self._condition(part) + (f" AND {also}" if also else "")
        names = ", ".join(keys)
        return f"SELECT {', '.join([*keys, *values])} FROM {part.table.name} WHERE {condition} GROUP BY {names}"

    def _of_clients(self, keys: Sequence[str], values: Sequence[str], names: Sequence[str]) -> str:
        """Return sums by address: by its number, and by its text where it has none."""
        number, others = NUMBER.name, [key for key in keys if key not in OF_CLIENT]
        shown = [f"{CLIENTS.name}.{key}" if key in OF_CLIENT else f"numbers.{key}" for key in keys]
        shown += [f"numbers.{name}" for name in names]
        return (
            f"SELECT {', '.join(shown)} FROM ({self._added([number, *others], values, f'{number} > 0')}) AS numbers"
            f" JOIN {CLIENTS.name} ON numbers.{number} = {CLIENTS.name}.{number}"
            f" UNION ALL {self._added(keys, values, f'{number} = 0')}"
        )

    def of_histogram(self, duration: str, columns: Sequence[str]) -> str:
        """Return the tables with some columns and the histogram of a duration, and the condition."""
        name = f"{duration}{_HISTOGRAM}"
        selected = []
        for part in self._plan.parts:
            own = name if part.table is MINUTES else f"{self._dialect.histogram_of(duration)} AS {name}"
            selected.append(f"SELECT {', '.join([*columns, own])} FROM {part.table.name} WHERE {self._condition(part)}")
        return f"({' UNION ALL '.join(selected)}) AS rolled"

    def _rolled(self, part: TimeSlice, metrics: Sequence[Metric]) -> str:
        by_name = self._plan.table.by_name
        needed = dict.fromkeys(["time", *(column.name for column in self._plan.dimensions)])
        for metric in metrics:
            needed |= dict.fromkeys(metric.uses)
        columns = []
        for name in needed:
            if by_name[name].role is not Role.DURATION:
                columns.append(name)
            elif part.table is MINUTES:
                columns += [f"{name}{_SUM}", f"{name}{_COUNT}"]
            else:
                columns.append(f"coalesce({name}, 0) AS {name}{_SUM}")
                columns.append(f"CASE WHEN {name} IS NULL THEN 0 ELSE 1 END AS {name}{_COUNT}")
        return f"SELECT {', '.join(columns)} FROM {part.table.name} WHERE {self._condition(part)}"

    def _condition(self, part: TimeSlice) -> str:
        statement, dialect, question = self._statement, self._dialect, self._plan.question
        time = part.table.time
        conditions = [
            f"{time} >= {dialect.moment(statement, part.since_us)}",
            f"{time} < {dialect.moment(statement, part.until_us)}",
        ]
        if question.where is not None:
            conditions.append(self._where(question.where))
        if question.visible is not None:
            conditions.append(self._visible(question.visible, part.table))
        if self._groups is not None:
            is_any = bool(self._groups) and bool(self._plan.dimensions)
            among = dialect.among(statement, self._plan.dimensions, self._groups) if is_any else "1 = 0"
            conditions.append(among)
        return " AND ".join(conditions)

    def _where(self, condition: Condition) -> str:
        match condition:
            case AllOf(parts):
                return f"({' AND '.join(map(self._where, parts)) or '1 = 1'})"
            case AnyOf(parts):
                return f"({' OR '.join(map(self._where, parts)) or '1 = 0'})"
            case Not(part):
                return f"(NOT {self._where(part)})"
            case Compare():
                return self._compare(condition)

    def _compare(self, one: Compare) -> str:
        column, statement = self._plan.table.by_name[one.dimension], self._statement
        match one.operator:
            case "=" | "!=":
                if len(one.values) == 1:
                    return f"{column.name} {'=' if one.operator == '=' else '<>'} {self._value(column, one.values[0])}"
                among = self._dialect.among(statement, [column], [(value,) for value in one.values])
                return among if one.operator == "=" else f"(NOT {among})"
            case "like" | "not_like":
                fits = [self._dialect.like(statement, column.name, str(value)) for value in one.values]
            case "prefix" | "not_prefix":
                fits = [self._dialect.in_prefix(statement, column.name, str(value)) for value in one.values]
            case _:
                return f"({' OR '.join(f'{column.name} {one.operator} {self._value(column, x)}' for x in one.values)})"
        any_of = f"({' OR '.join(fits)})"
        return f"(NOT {any_of})" if one.operator.startswith("not_") else any_of

    def _value(self, column: Column, value: Value) -> str:
        text = self._dialect.value(self._statement, value)
        return f"({text} = 1)" if column.kind is ColumnKind.BOOLEAN else text

    def _visible(self, visible: Visible, table: Table) -> str:
        """Return the condition that the reader may see a row."""
        part_since = self._plan.question.since
        theirs = []
        for name in _OWNED_BY[table.name]:
            column, names = table.by_name[name], visible.names.get(name, {})
            always = [(one,) for one, since in names.items() if since <= part_since]
            if always:
                theirs.append(self._dialect.among(self._statement, [column], always))
            for one, since in names.items():
                if since > part_since:
                    began = self._dialect.moment(self._statement, round(since * 1e6))
                    is_named = f"{name} = {self._dialect.value(self._statement, one)}"
                    theirs.append(f"({is_named} AND {table.time} >= {began})")
        return f"({' OR '.join(theirs)})" if theirs else "1 = 0"
