"""Answers questions: which statements are run one after another, and how their rows are combined. No I/O."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from spectrum.core.analytics import histogram
from spectrum.core.analytics.columns import ColumnKind
from spectrum.core.analytics.dialects import Dialect, Statement
from spectrum.core.analytics.metrics import OF_HISTOGRAM, Metric, MetricKind
from spectrum.core.analytics.plan import DataRange, QuestionPlan, make_plan
from spectrum.core.analytics.question import Question, ResultTable, Row
from spectrum.core.analytics.sql import detail_statement, groups_statement, histogram_statement, rows_statement

# The number of groups whose histograms are read to sort groups by a percentile.
MAX_SORTED_BY_HISTOGRAM = 1000
# The key of a group at a time: its dimensions, whether it is "others", the bucket's start.
_Place = tuple[Row, int, int]
# By duration, the counts by bucket of the histogram.
_Counts = dict[str, dict[int, int]]
_Run = Callable[[Statement], Sequence[Row]]


def answer(question: Question, dialect: Dialect, reach: DataRange, run: _Run) -> ResultTable:
    """Return the answer to a question.

    Args:
        question: The question.
        dialect: The dialect of the store.
        reach: The range of data in the store.
        run: Returns the rows of a statement.

    Raises:
        QuestionFault: If the question is invalid.
    """
    plan = make_plan(question, reach)
    if question.is_raw:
        columns = tuple(column.name for column in plan.table.columns)
        rows = [_raw(plan, row) for row in run(rows_statement(plan, dialect))]
        return ResultTable(columns, rows, {}, {}, {}, len(rows), len(rows), reach.as_of, plan.partial)
    return _Answering(plan, dialect, reach, run).result()


def _raw(plan: QuestionPlan, row: Row) -> Row:
    kinds = [column.kind for column in plan.table.columns]
    return tuple(
        value / 1e6 if kind is ColumnKind.TIME else bool(value) if kind is ColumnKind.BOOLEAN else value
        for kind, value in zip(kinds, row, strict=True)
    )


class _Answering:
    def __init__(self, plan: QuestionPlan, dialect: Dialect, reach: DataRange, run: _Run) -> None:
        self._plan = plan
        self._question = plan.question
        self._dialect = dialect
        self._as_of = reach.as_of
        self._run = run
        self._partial = plan.partial
        self._of_histogram = [one for one in plan.metrics if plan.is_rolled and one.kind in OF_HISTOGRAM]
        self._keys = len(plan.dimensions)

    def result(self) -> ResultTable:
        if self._question.bucket and not self._keys and self._are_sums():
            return self._of_times()
        plan, question = self._plan, self._question
        by_percentile = self._is_sorted_by_percentile()
        limit = max(question.limit, MAX_SORTED_BY_HISTOGRAM) if by_percentile else question.limit
        ranked = _Ranked(self._run(groups_statement(plan, self._dialect, limit)), self._keys, len(plan.plain))
        groups = ranked.groups
        chosen = groups if self._keys and ranked.count > len(groups) else None
        histograms = self._histograms(chosen) if groups else {}
        of_groups = _over_time(histograms)
        if by_percentile:
            groups = self._sorted(groups, ranked.values, of_groups)[: question.limit]
        has_others = question.others and ranked.count > question.limit
        if not question.bucket and (not has_others or self._are_sums()):
            rows = [(*group, *self._merged(ranked.values[group], of_groups.get(group, {}))) for group in groups]
            if has_others:
                rows.append((*(None,) * self._keys, *self._left(ranked, groups)))
        else:
            chosen = groups if self._keys and ranked.count > len(groups) else None
            rows = list(self._detail(groups, chosen, histograms)) if groups else []
        totals, minima, maxima = (
            {one.name: _number(value) for one, value in zip(plan.plain, values, strict=True)}
            for values in (ranked.total, ranked.lowest, ranked.highest)
        )
        for metric in self._of_histogram:
            (duration,) = metric.uses
            totals[metric.name] = _number(_of(metric, self._total_histogram(duration)))
            seen = [value for one in of_groups.values() if (value := _of(metric, one.get(duration, {}))) is not None]
            minima[metric.name], maxima[metric.name] = min(seen, default=0.0), max(seen, default=0.0)
        columns = (*(("time",) if question.bucket else ()), *question.dimensions, *question.metrics)
        return ResultTable(columns, rows, totals, minima, maxima, ranked.count, ranked.read, self._as_of, self._partial)

    def _of_times(self) -> ResultTable:
        """Return sums by time, and of these the sum of all: one statement instead of two."""
        question = self._question
        found = sorted(self._run(detail_statement(self._plan, self._dialect, None, counts_rows=True)))
        rows = [(start, *values) for start, _, *values, _ in found]
        totals = {one.name: sum(_number(row[at]) for row in rows) for at, one in enumerate(self._plan.metrics, start=1)}
        columns, read = ("time", *question.metrics), sum(int(row[-1]) for row in found)
        return ResultTable(columns, rows, totals, dict(totals), dict(totals), 1, read, self._as_of, self._partial)

    def _is_sorted_by_percentile(self) -> bool:
        names = {one.name for one in self._of_histogram}
        return bool(self._keys) and any(one.by in names for one in self._plan.order)

    def _are_sums(self) -> bool:
        return all(one.kind is MetricKind.SUM for one in self._plan.metrics)

    def _left(self, ranked: "_Ranked", groups: Sequence[Row]) -> Iterator[Any]:
        """Yield the rest of sums beyond the groups: a query for it would read everything again."""
        for at, total in enumerate(ranked.total):
            yield total - sum(ranked.values[group][at] for group in groups)

    def _detail(
        self, groups: Sequence[Row], chosen: Sequence[Row] | None, histograms: Mapping[_Place, _Counts]
    ) -> Iterator[Row]:
        """Yield the rows of groups by time, "others" last."""
        found: dict[_Place, list[Any]] = {}
        for row in self._run(detail_statement(self._plan, self._dialect, chosen)):
            start, other, *rest = row
            found[tuple(rest[: self._keys]), other, start] = rest[self._keys :]
        places = {group: at for at, group in enumerate(groups)}
        for place in sorted(found, key=lambda place: (place[1], places.get(place[0], len(places)), place[2])):
            group, _, start = place
            time = (start,) if self._question.bucket else ()
            yield (*time, *group, *self._merged(found[place], histograms.get(place, {})))

    def _histograms(self, chosen: Sequence[Row] | None) -> dict[_Place, _Counts]:
        found: dict[_Place, _Counts] = {}
        for duration in dict.fromkeys(one.uses[0] for one in self._of_histogram):
            for row in self._run(histogram_statement(self._plan, self._dialect, duration, chosen, False)):
                start, other, *rest = row
                place = (tuple(rest[: self._keys]), other, start)
                bucket, number = rest[self._keys :]
                found.setdefault(place, {}).setdefault(duration, {})[int(bucket)] = int(number)
        return found

    def _total_histogram(self, duration: str) -> dict[int, int]:
        statement = histogram_statement(self._plan, self._dialect, duration, None, True)
        return {int(row[-2]): int(row[-1]) for row in self._run(statement)}

    def _merged(self, plain: Sequence[Any], histograms: Mapping[str, Mapping[int, int]]) -> Iterator[Any]:
        """Yield the metrics in the order of the question."""
        values = iter(plain)
        for metric in self._plan.metrics:
            if metric in self._of_histogram:
                yield _of(metric, histograms.get(metric.uses[0], {}))
            else:
                yield next(values)

    def _sorted(
        self, groups: list[Row], values: Mapping[Row, Sequence[Any]], found: Mapping[Row, _Counts]
    ) -> list[Row]:
        if len(groups) >= MAX_SORTED_BY_HISTOGRAM:
            self._partial = self._partial or f"only the first {MAX_SORTED_BY_HISTOGRAM} groups are sorted"
        names = [*(column.name for column in self._plan.dimensions), *(one.name for one in self._plan.metrics)]
        shown = {
            group: dict(zip(names, (*group, *self._merged(values[group], found.get(group, {}))), strict=True))
            for group in groups
        }
        for one in reversed(self._plan.order):
            known = [group for group in groups if shown[group][one.by] is not None]
            unknown = [group for group in groups if shown[group][one.by] is None]
            groups = sorted(known, key=lambda group: shown[group][one.by], reverse=one.descending) + unknown
        return groups


class _Ranked:
    """The result of a statement for groups.

    Args:
        rows: Its rows.
        keys: How many dimensions there are.
        metrics: How many metrics.
    """

    def __init__(self, rows: Sequence[Row], keys: int, metrics: int) -> None:
        nothing: Row = (None,) * keys + (1, 0) + (None,) * (3 * metrics) + (0,)
        first = rows[0] if rows else nothing
        begin = keys + 2
        self.total = first[begin : begin + metrics]
        self.read = int(first[keys + 1])
        self.lowest, self.highest = (first[begin + metrics + at : -1 : 2] for at in (0, 1))
        found = [row for row in rows if row[keys] == 0] if keys else [first]
        self.groups: list[Row] = [row[:keys] for row in found]
        self.values = {row[:keys]: row[begin : begin + metrics] for row in found}
        self.count = int(first[-1] or 0) if keys else 1


def _over_time(histograms: Mapping[_Place, _Counts]) -> dict[Row, _Counts]:
    """Return the histograms of groups, over all times."""
    found: dict[Row, _Counts] = {}
    for (group, _, _), counts in histograms.items():
        for duration, buckets in counts.items():
            into = found.setdefault(group, {}).setdefault(duration, {})
            for bucket, number in buckets.items():
                into[bucket] = into.get(bucket, 0) + number
    return found


def _of(metric: Metric, counts: Mapping[int, int]) -> float | None:
    """Return a metric from a histogram, in milliseconds."""
    match metric.kind:
        case MetricKind.LOWEST:
            share = 0.0
        case MetricKind.HIGHEST:
            share = 1.0
        case _:
            share = metric.fraction
    value = histogram.percentile(counts, share)
    return None if value is None else value / 1000


def _number(value: Any) -> float:
    return 0.0 if value is None else value
