"""The dimensions of tables, and how their values are read from text or JSON."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from spectrum.core.analytics.columns import Column, ColumnKind, Role, Table
from spectrum.core.analytics.question import Operator, Value
from spectrum.core.configuration.faults import nearest

_TEXTS = (ColumnKind.TEXT, ColumnKind.CATEGORY)
_NUMBERS = (ColumnKind.U8, ColumnKind.U16, ColumnKind.U32, ColumnKind.U64)
_GROUPED = (Role.DIMENSION, Role.DETAIL, Role.ID)
_COMPARED = (*_GROUPED, Role.SUM, Role.DURATION)
_HIGHEST = 2**53
_US_PER_MS = 1000


def can_group(column: Column) -> bool:
    """Return whether rows can be grouped by a column."""
    return column.role in _GROUPED and column.kind is not ColumnKind.BYTES


def can_compare(column: Column) -> bool:
    """Return whether rows can be filtered by a column."""
    return column.role in _COMPARED and column.kind not in (ColumnKind.BYTES, ColumnKind.HISTOGRAM)


def is_address(column: Column) -> bool:
    """Return whether a column has addresses, which can be compared with prefixes."""
    return column.name.endswith("_ip")


def find_dimension(table: Table, name: str) -> Column:
    """Return the column of a table by its name, or by Cloudflare's.

    Raises:
        ValueError: If there is none; the message suggests similar ones.
    """
    found = table.by_name.get(name) or next((one for one in table.columns if name and one.rest == name), None)
    if found is None:
        there = [word for one in table.columns if can_compare(one) for word in {one.name, one.rest} if word]
        raise ValueError(f"{table.name} have no {name!r}{nearest(name, there)}")
    return found


@dataclass(frozen=True, slots=True)
class ColumnFilter:
    """A column in filters.

    Attributes:
        column: The column.
    """

    column: Column

    @classmethod
    def named(cls, table: Table, name: str) -> "ColumnFilter":
        """Return the column with a name, or Cloudflare's name.

        Raises:
            ValueError: If there is none, or it cannot be compared.
        """
        column = find_dimension(table, name)
        if not can_compare(column):
            raise ValueError(
                f"{name} cannot be compared" + ("; since and until limit it" if column.role is Role.TIME else "")
            )
        return cls(column)

    @property
    def name(self) -> str:
        """Its name in the table."""
        return self.column.name

    def read(self, given: Any, operator: Operator) -> tuple[Operator, Value]:
        """Return a value and the operator for it: an address compared with a prefix is in it or not.

        Raises:
            ValueError: If it is not a value of this column; the message says what is.
        """
        kind = self.column.kind
        is_text = kind in _TEXTS
        if operator in ("prefix", "not_prefix") and not is_address(self.column):
            raise ValueError(f"{self.name} has no addresses that could be in a prefix")
        if operator in ("like", "not_like") and not is_text:
            raise ValueError(f"{self.name} is not a text")
        if kind is ColumnKind.BOOLEAN:
            return operator, _boolean(self.name, given)
        if not is_text:
            return operator, self._number(given)
        if not isinstance(given, str):
            raise ValueError(f"{self.name} is a text, {given!r} is not")
        if is_address(self.column) and given and operator not in ("like", "not_like"):
            return _address(self.name, given, operator)
        return operator, given

    def write(self, value: Value) -> str:
        """Return a value in the form of a filter."""
        match self.column.kind:
            case ColumnKind.BOOLEAN:
                return "true" if value else "false"
            case ColumnKind.OPTIONAL:
                return f"{int(value) / _US_PER_MS!r}"
        return str(value)

    def _number(self, given: Any) -> int:
        is_duration = self.column.kind is ColumnKind.OPTIONAL
        what = "a number of milliseconds" if is_duration else "a number"
        try:
            if isinstance(given, bool):
                raise ValueError
            number = round(float(given) * _US_PER_MS) if is_duration else int(str(given))
        except (ValueError, TypeError, OverflowError):
            raise ValueError(f"{self.name} is {what}, {given!r} is not") from None
        if not 0 <= number <= _HIGHEST:
            raise ValueError(f"{self.name} is {what} from 0 to {_HIGHEST}, {given!r} is not")
        return number


def _boolean(name: str, given: Any) -> int:
    match given:
        case True | "true" | "1":
            return 1
        case False | "false" | "0":
            return 0
    raise ValueError(f"{name} is true or false, {given!r} is neither")


def _address(name: str, given: str, operator: Operator) -> tuple[Operator, Value]:
    if "/" not in given and operator not in ("prefix", "not_prefix"):
        try:
            return operator, str(ip_address(given))
        except ValueError:
            raise ValueError(f"{name} is an address or a prefix, {given!r} is neither") from None
    fitting: dict[Operator, Operator] = {
        "=": "prefix",
        "!=": "not_prefix",
        "prefix": "prefix",
        "not_prefix": "not_prefix",
    }
    if operator not in fitting:
        raise ValueError(f"an address is in a prefix or not: {operator} cannot be used with {given!r}")
    try:
        return fitting[operator], str(ip_network(given, strict=False))
    except ValueError:
        raise ValueError(f"{name} is an address or a prefix, {given!r} is neither") from None
