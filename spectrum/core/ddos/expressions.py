"""Expressions about packets, in the part of Cloudflare's rules language that overrides of DDoS rules have.

An expression is evaluated with the known properties of packets: each field is any of some numbers, or unknown. An
undecidable result is None (Kleene's logic): neither the expression nor its negation holds.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, Never

# Limit of an override; filters of TCP protection have 8,192.
MAX_LENGTH = 4_000
MAX_DEPTH = 32
# The lowest and the highest number of a range. An address is a number of 128 bits, an IPv4 one as `::ffff:a.b.c.d`.
Span = tuple[int, int]
Spans = tuple[Span, ...]
# The possible values of a field of packets; None if unknown, and nothing if they have no such field.
Facts = Callable[[str], Spans | None]
_MAPPED: Span = (0xFFFF << 32, (0xFFFF << 32) + 0xFFFFFFFF)
_HIGHEST_ADDRESS = 2**128 - 1


@dataclass(frozen=True, slots=True)
class Field:
    """A field of packets.

    Attributes:
        kind: The kind of its values: a flag is 0 or 1, and stands without an operator.
        highest: Its highest number.
    """

    kind: Literal["number", "address", "flag"] = "number"
    highest: int = 65535


_OCTET, _PORT, _ADDRESS, _FLAG = Field(highest=255), Field(), Field("address", _HIGHEST_ADDRESS), Field("flag", 1)
_NUMBER_32 = Field(highest=2**32 - 1)
FIELDS: Mapping[str, Field] = {
    "ip.dst": _ADDRESS,
    "ip.src": _ADDRESS,
    "ip.proto.num": _OCTET,
    "ip.len": Field(),
    "ip.ttl": _OCTET,
    "tcp.dstport": _PORT,
    "tcp.srcport": _PORT,
    "tcp.seq": _NUMBER_32,
    "tcp.ack": _NUMBER_32,
    "tcp.flags": _OCTET,
    "tcp.flags.ack": _FLAG,
    "tcp.flags.fin": _FLAG,
    "tcp.flags.push": _FLAG,
    "tcp.flags.reset": _FLAG,
    "tcp.flags.syn": _FLAG,
    "tcp.flags.urg": _FLAG,
    "udp.dstport": _PORT,
    "udp.srcport": _PORT,
}


class ExpressionError(ValueError):
    """A malformed expression.

    Attributes:
        position: The position of the wrong character, from 1 on.
    """

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"at character {position}: {message}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Constant:
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class FieldIn:
    """A field has one of some numbers: the form of all comparisons, those with `ne` within a `Negation`."""

    field: str
    spans: Spans


@dataclass(frozen=True, slots=True)
class Negation:
    """The negation of an expression."""

    part: "Expression"


@dataclass(frozen=True, slots=True)
class Combination:
    """Two or more parts, and the operator."""

    how: Literal["and", "xor", "or"]
    parts: tuple["Expression", ...]


Expression = Constant | FieldIn | Negation | Combination


def parse(text: str, fields: Mapping[str, Field] = FIELDS, max_length: int = MAX_LENGTH) -> Expression:
    """Parse an expression.

    Args:
        text: The expression, such as `ip.dst in {192.0.2.0/24} and not tcp.flags.syn`.
        fields: The valid fields.
        max_length: In characters.

    Raises:
        ExpressionError: If it is malformed.
    """
    if len(text) > max_length:
        raise ExpressionError(max_length + 1, f"it has {len(text):,} characters; at most {max_length:,} are possible")
    return _Parser(text, fields).parse()


def holds(expression: Expression, facts: Facts) -> bool | None:
    """Return whether an expression holds for packets with these fields; None if undecidable."""
    match expression:
        case Constant(value):
            return value
        case FieldIn(field, spans):
            known = facts(field)
            return None if known is None else _compare(known, spans)
        case Negation(part):
            found = holds(part, facts)
            return None if found is None else not found
        case Combination(how, parts):
            return _joined(how, [holds(part, facts) for part in parts])


def fields_of(expression: Expression) -> Iterator[str]:
    """Yield the fields that an expression names; one may come more than once."""
    match expression:
        case FieldIn(field, _):
            yield field
        case Negation(part):
            yield from fields_of(part)
        case Combination(_, parts):
            for part in parts:
                yield from fields_of(part)


def address_span(text: str) -> Span:
    """Return the addresses of a prefix, of a range such as `192.0.2.1..192.0.2.9`, or of one address.

    Raises:
        ValueError: If it is none of these.
    """
    first, dots, last = text.partition("..")
    if dots:
        ends = ip_address(first), ip_address(last)
        if ends[0].version != ends[1].version:
            raise ValueError("its ends are of two families")
        return _number(ends[0]), _number(ends[1])
    prefix = ip_network(text)
    return _number(prefix.network_address), _number(prefix.broadcast_address)


def _number(address: IPv4Address | IPv6Address) -> int:
    return int(address) + (_MAPPED[0] if address.version == 4 else 0)


def _compare(known: Spans, spans: Spans) -> bool | None:
    """Return whether all possible numbers are among those of an expression; None if some are."""
    if not known:
        return False
    if all(any(low <= first and last <= high for low, high in spans) for first, last in known):
        return True
    if any(first <= high and low <= last for first, last in known for low, high in spans):
        return None
    return False


def _joined(how: str, found: Sequence[bool | None]) -> bool | None:
    if how == "xor":
        known = [one for one in found if one is not None]
        return sum(known) % 2 == 1 if len(known) == len(found) else None
    decisive = how == "or"
    if decisive in found:
        return decisive
    return None if None in found else not decisive


# --- text ---------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:(?P<sign>==|!=|<=|>=|&&|\|\||\^\^|[<>!(){}])|(?P<word>[^\s<>=!&|^(){},"]+)|(?P<other>\S))"""
)
_NUMBER = re.compile("[0-9]+|0[xX][0-9a-fA-F]+")
_WORDS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "&&": "and", "||": "or", "^^": "xor"}
_WORDS["!"] = "not"
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "in")
# In ascending order of precedence.
_JOINS: tuple[Literal["or", "xor", "and"], ...] = ("or", "xor", "and")
_ELSEWHERE = {
    "matches": "the fields here are numbers and addresses",
    "~": "the fields here are numbers and addresses",
    "contains": "the fields here are numbers and addresses",
    "bitwise_and": "name a flag, such as tcp.flags.syn",
    "&": "write and, or &&",
    "|": "write or, or ||",
    "=": "write eq, or ==",
    ",": "values are separated by spaces",
    '"': "values have no quotes: the fields here are numbers and addresses",
}


@dataclass(frozen=True, slots=True)
class _Sign:
    text: str
    position: int

    @property
    def word(self) -> str:
        return _WORDS.get(self.text, self.text)


class _Parser:
    """Parses an expression from left to right.

    Args:
        text: The expression.
        fields: The valid fields.
    """

    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        self._tokens = list(_tokens(text))
        self._place = 0
        self._depth = 0

    def parse(self) -> Expression:
        """Return the whole."""
        if len(self._tokens) == 1:
            raise ExpressionError(1, "it is empty; write true for all packets")
        found = self._join(0)
        if self._next.text:
            self._refuse(self._next, "and, or, xor, or the end")
        return found

    @property
    def _next(self) -> _Sign:
        return self._tokens[self._place]

    def _take(self) -> _Sign:
        token = self._next
        self._place += bool(token.text)
        return token

    def _refuse(self, token: _Sign, expected: str) -> Never:
        found = repr(token.text) if token.text else "the end"
        hint = f" ({_ELSEWHERE[token.text]})" if token.text in _ELSEWHERE else ""
        raise ExpressionError(token.position, f"expected {expected}, found {found}{hint}")

    def _join(self, level: int) -> Expression:
        if level == len(_JOINS):
            return self._single()
        parts = [self._join(level + 1)]
        while self._next.word == _JOINS[level]:
            self._take()
            parts.append(self._join(level + 1))
        return parts[0] if len(parts) == 1 else Combination(_JOINS[level], tuple(parts))

    def _single(self) -> Expression:
        token = self._take()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(token.position, f"more than {MAX_DEPTH} parentheses and negations in each other")
        try:
            match token.word:
                case "not":
                    return Negation(self._single())
                case "(":
                    found = self._join(0)
                    if self._next.text != ")":
                        self._refuse(self._next, ")")
                    self._take()
                    return found
                case "true" | "false":
                    return Constant(token.text == "true")
            return self._comparison(token)
        finally:
            self._depth -= 1

    def _comparison(self, token: _Sign) -> Expression:
        field = self._fields.get(token.text)
        if field is None:
            self._no_field(token)
        operator = self._next
        if field.kind == "flag":
            if operator.word in _COMPARISONS:
                raise ExpressionError(
                    operator.position, f"{token.text} is set or not: write it alone, or not {token.text}"
                )
            return FieldIn(token.text, ((1, 1),))
        if operator.word not in _COMPARISONS:
            self._refuse(operator, f"{', '.join(_COMPARISONS)} after {token.text}")
        self._take()
        if operator.word == "in":
            return FieldIn(token.text, self._set(token.text, field))
        if operator.word in ("eq", "ne"):
            found = FieldIn(token.text, self._value(token.text, field, is_in_set=False))
            return found if operator.word == "eq" else Negation(found)
        if field.kind == "address":
            raise ExpressionError(operator.position, f"{token.text} is an address: compare it with eq, ne or in")
        ((value, _),) = self._value(token.text, field, is_in_set=False)
        spans = {
            "lt": (0, value - 1),
            "le": (0, value),
            "gt": (value + 1, field.highest),
            "ge": (value, field.highest),
        }
        low, high = spans[operator.word]
        return FieldIn(token.text, ((low, high),) if low <= high else ())

    def _no_field(self, token: _Sign) -> Never:
        if not token.text or token.text in _ELSEWHERE or token.word in (*_WORDS.values(), *_COMPARISONS, *"){}"):
            self._refuse(token, "a field, such as ip.dst")
        if token.text.startswith("cf."):
            raise ExpressionError(
                token.position, f"there is no {token.text} here, nor a zone; name an app by its ip.dst and its port"
            )
        close = get_close_matches(token.text, self._fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(self._fields)}"
        raise ExpressionError(token.position, f"there is no field {token.text} here; {hint}")

    def _set(self, name: str, field: Field) -> Spans:
        brace = self._take()
        if brace.text != "{":
            if brace.text.startswith("$"):
                raise ExpressionError(brace.position, "lists cannot be named here; write {192.0.2.0/24 198.51.100.7}")
            self._refuse(brace, "{ with values, and }")
        spans: list[Span] = []
        while self._next.text != "}":
            spans += self._value(name, field, is_in_set=True)
        if not spans:
            raise ExpressionError(self._next.position, "an empty set: nothing is in it")
        self._take()
        return tuple(spans)

    def _value(self, name: str, field: Field, is_in_set: bool) -> Spans:
        token = self._take()
        kind = "an address" if field.kind == "address" else "a number"
        example = ("192.0.2.0/24" if is_in_set else "192.0.2.1") if field.kind == "address" else "53"
        if token.text in ("", ",", '"', "=") or token.text in _WORDS or token.text in "(){}":
            self._refuse(token, f"{kind} such as {example}" + (" or }" if is_in_set and not token.text else ""))
        if not is_in_set and (".." in token.text or "/" in token.text):
            raise ExpressionError(token.position, f"{token.text} is more than one: write {name} in {{{token.text}}}")
        try:
            span = address_span(token.text) if field.kind == "address" else _numbers(token.text, field.highest)
        except ValueError as exc:
            raise ExpressionError(
                token.position, f"{token.text} is not {kind}; {name} is compared with such as {example} ({exc})"
            ) from exc
        if span[0] > span[1]:
            raise ExpressionError(token.position, f"{token.text}: a range begins with its lower end")
        return tuple(_without_mapped(span)) if field.kind == "address" else (span,)


def _tokens(text: str) -> Iterator[_Sign]:
    """Yield the words and signs of a text, then an empty one for its end."""
    place = 0
    while (found := _TOKEN.match(text, place)) is not None:
        place = found.end()
        sign = found.group(found.lastgroup or 0)
        yield _Sign(sign, found.start(found.lastgroup or 0) + 1)
    yield _Sign("", len(text) + 1)


def _numbers(text: str, highest: int) -> Span:
    first, dots, last = text.partition("..")
    texts = (first, last) if dots else (first,)
    if not all(map(_NUMBER.fullmatch, texts)):
        raise ValueError("decimal digits, or 0x and hexadecimal ones")
    ends = [int(end, 16 if end[:2] in ("0x", "0X") else 10) for end in texts]
    if max(ends) > highest:
        raise ValueError(f"at most {highest}")
    return ends[0], ends[-1]


def _without_mapped(span: Span) -> Iterator[Span]:
    """Yield the addresses of a range; of an IPv6 range without IPv4-mapped ones."""
    low, high = span
    if _MAPPED[0] <= low and high <= _MAPPED[1]:
        yield span
        return
    if low < _MAPPED[0]:
        yield low, min(high, _MAPPED[0] - 1)
    if high > _MAPPED[1]:
        yield max(low, _MAPPED[1] + 1), high
