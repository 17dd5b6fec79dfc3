"""Cloudflare's grammar of filters: `event==connect;ipVersion==6,coloName!=fra1`.

A filter is comparisons. `;` or ` AND ` between two means both, `,` or ` OR ` either, and AND binds tighter; there are
no parentheses. A value with one of these, with quotes or with spaces stands in quotes, single or double, in which `\\`
makes the character behind it plain.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from spectrum.core.analytics.question import (
    NEGATIVE,
    OPERATORS,
    AllOf,
    AnyOf,
    Compare,
    Condition,
    Not,
    Operator,
    QuestionFault,
    Value,
)

MAX_LENGTH = 64 * 1024
MAX_COMPARISONS = 500
MAX_VALUES = 1000
# Maximum nesting of conditions in JSON.
MAX_DEPTH = 8
_SYMBOLS: dict[str, Operator] = {"==": "=", "!=": "!=", ">=": ">=", "<=": "<=", ">": ">", "<": "<"}
_OPERATOR = re.compile(r"==|!=|>=|<=|>|<")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_BARE = re.compile(r"""[^\s,;"'\\=<>!]+""")
_SPACE = re.compile(r"\s*")
_JOIN = re.compile(r"\s*([,;])\s*|\s+(AND|OR)\s+", re.IGNORECASE)


class FilterFault(QuestionFault):
    """A malformed filter.

    Attributes:
        position: Where, in characters from 0; None if the filter is not text.
        pointer: Where in a filter in JSON: keys and numbers.
    """

    def __init__(
        self, message: str, position: int | None = None, text: str = "", pointer: Sequence[str | int] = ()
    ) -> None:
        where = "" if position is None else f"at character {position + 1}{_near(text, position)}: "
        super().__init__("where", where + message)
        self.position = position
        self.pointer = tuple(pointer)


def _near(text: str, position: int) -> str:
    return f" ({text[position : position + 20]!r})" if position < len(text) else " (its end)"


class FilterField(Protocol):
    """A dimension in filters."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        ...

    def read(self, given: Any, operator: Operator) -> tuple[Operator, Value]:
        """Return a value of it, from text or JSON, and the operator for it.

        Raises:
            ValueError: If it is not a value of this dimension; the message says what is.
        """
        ...

    def write(self, value: Value) -> str:
        """Return a value in the form of a filter."""
        ...


# Returns the field with a name; raises ValueError with similar names.
Known = Callable[[str], FilterField]


class _Token(NamedTuple):
    """A token of a filter, and where it begins."""

    text: str
    at: int


def parse(text: str, known: Known) -> Condition | None:
    """Return the condition of a filter; None if it is empty.

    Args:
        text: The filter.
        known: Finds dimensions by name.

    Raises:
        FilterFault: If it is malformed; the message says where, and what is expected there.
    """
    if len(text) > MAX_LENGTH:
        raise FilterFault(f"a filter has at most {MAX_LENGTH} characters, this one {len(text)}")
    if not text.strip():
        return None
    return _FilterReader(text, known).read()


class _FilterReader:
    def __init__(self, text: str, known: Known) -> None:
        self._text = text
        self._known = known
        self._at = 0
        self._comparisons = 0

    def read(self) -> Condition:
        self._skip()
        either: list[list[Compare]] = [[]]
        while True:
            either[-1].append(self._comparison())
            join = self._join()
            if join is None:
                return _joined(AnyOf, [_joined(AllOf, both) for both in either])
            if join in (",", "OR"):
                either.append([])

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None, "it matches nothing, too"
        self._at = match.end()

    def _fault(self, message: str, at: int | None = None) -> FilterFault:
        return FilterFault(message, self._at if at is None else at, self._text)

    def _comparison(self) -> Compare:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise self._fault(f"a filter has at most {MAX_COMPARISONS} comparisons")
        name = self._take(_NAME, "expected the name of a dimension")
        try:
            dimension = self._known(name.text)
        except ValueError as exc:
            raise self._fault(str(exc), name.at) from None
        self._skip()
        symbol = self._take(_OPERATOR, "expected one of == != > < >= <=")
        self._skip()
        given = self._value()
        try:
            operator, value = dimension.read(given.text, _SYMBOLS[symbol.text])
        except ValueError as exc:
            raise self._fault(str(exc), given.at) from None
        return Compare(dimension.name, operator, (value,))

    def _take(self, pattern: re.Pattern[str], expected: str) -> _Token:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise self._fault(expected)
        token = _Token(match[0], self._at)
        self._at = match.end()
        return token

    def _value(self) -> _Token:
        begin = self._at
        quote = self._text[begin : begin + 1]
        if quote not in ("'", '"') or not quote:
            return self._take(
                _BARE, "expected a value; empty values, and values with any of , ; = < > ! \\, need quotes"
            )
        taken: list[str] = []
        at = begin + 1
        while at < len(self._text):
            char = self._text[at]
            if char == quote:
                self._at = at + 1
                return _Token("".join(taken), begin)
            if char == "\\":
                at += 1
                char = self._text[at : at + 1]
            taken.append(char)
            at += 1
        raise self._fault(f"the quote {quote} is not closed", begin)

    def _join(self) -> str | None:
        if not self._text[self._at :].strip():
            return None
        match = _JOIN.match(self._text, self._at)
        if match is None:
            self._skip()
            raise self._fault("expected , or ; or OR or AND between comparisons; values with spaces need quotes")
        self._at = match.end()
        return (match[1] or match[2]).upper()


def _joined(kind: type[AllOf] | type[AnyOf], parts: Sequence[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


_SHOWN = {operator: symbol for symbol, operator in _SYMBOLS.items()} | {"prefix": "==", "not_prefix": "!="}


def show(condition: Condition, known: Known) -> str:
    """Return the filter of a condition.

    Raises:
        ValueError: If there is none: the grammar has no parentheses, no `not`, and no `like`.
    """
    parts = condition.conditions if isinstance(condition, AnyOf) else (condition,)
    return ",".join(_shown_both(part, known) for part in parts)


def _shown_both(condition: Condition, known: Known) -> str:
    parts = condition.conditions if isinstance(condition, AllOf) else (condition,)
    return ";".join(_shown_one(part, known) for part in parts)


def _shown_one(condition: Condition, known: Known) -> str:
    if not isinstance(condition, Compare) or condition.operator not in _SHOWN or len(condition.values) != 1:
        raise ValueError(f"no filter can express {condition}")
    value = known(condition.dimension).write(condition.values[0])
    if not _BARE.fullmatch(value):
        value = '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    return f"{condition.dimension}{_SHOWN[condition.operator]}{value}"


def of_json(given: Any, known: Known) -> Condition | None:
    """Return the condition in JSON: a filter as text; a list of `{dimension, op, values}`, all of which must hold; or
    `{"all": [...]}`, `{"any": [...]}`, `{"not": ...}` of these.

    Raises:
        FilterFault: If it is malformed; the message says where.
    """
    if given is None or given == []:
        return None
    if isinstance(given, str):
        return parse(given, known)
    count = [0]
    return _of_json(given, known, (), count)


def _of_json(given: Any, known: Known, place: tuple[str | int, ...], count: list[int]) -> Condition:
    if len(place) > 2 * MAX_DEPTH:
        raise FilterFault(f"conditions are nested deeper than {MAX_DEPTH}", pointer=place)
    match given:
        case list() if given:
            return _joined(AllOf, [_of_json(one, known, (*place, at), count) for at, one in enumerate(given)])
        case {"all": list(parts), **rest} if parts and not rest:
            return _joined(AllOf, [_of_json(one, known, (*place, "all", at), count) for at, one in enumerate(parts)])
        case {"any": list(parts), **rest} if parts and not rest:
            return _joined(AnyOf, [_of_json(one, known, (*place, "any", at), count) for at, one in enumerate(parts)])
        case {"not": part, **rest} if not rest:
            return Not(_of_json(part, known, (*place, "not"), count))
        case {"dimension": str(name), "values": list(values), **rest} if values and set(rest) <= {"op"}:
            count[0] += 1
            if count[0] > MAX_COMPARISONS:
                raise FilterFault(f"a filter has at most {MAX_COMPARISONS} comparisons", pointer=place)
            return _compare_of_json(name, rest.get("op", "="), values, known, place)
    raise FilterFault(
        'expected {"dimension": NAME, "op": "=", "values": [...]}, a list of such, or {"any" | "all": [...]}',
        pointer=place,
    )


_WORDS: dict[str, Operator] = {one: one for one in OPERATORS} | {"==": "=", "in": "=", "not_in": "!="}


def _compare_of_json(
    name: str, word: Any, values: Sequence[Any], known: Known, place: tuple[str | int, ...]
) -> Condition:
    operator = _WORDS.get(word) if isinstance(word, str) else None
    if operator is None:
        raise FilterFault(f"{word!r} is not one of {' '.join(_WORDS)}", pointer=(*place, "op"))
    if len(values) > MAX_VALUES:
        raise FilterFault(f"a comparison has at most {MAX_VALUES} values", pointer=(*place, "values"))
    try:
        dimension = known(name)
    except ValueError as exc:
        raise FilterFault(str(exc), pointer=(*place, "dimension")) from None
    # Values of one comparison may need different operators: an address, and a prefix of addresses.
    found: dict[Operator, list[Value]] = {}
    for at, given in enumerate(values):
        try:
            fitting, value = dimension.read(given, operator)
        except ValueError as exc:
            raise FilterFault(str(exc), pointer=(*place, "values", at)) from None
        found.setdefault(fitting, []).append(value)
    parts = [Compare(dimension.name, fitting, tuple(some)) for fitting, some in found.items()]
    return _joined(AllOf if operator in NEGATIVE else AnyOf, parts)
