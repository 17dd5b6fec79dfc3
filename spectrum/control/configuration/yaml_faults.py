"""Explains why a text is not YAML, in terms of its author.

libyaml says where its scanner stopped and what rule that broke; the cause often stands a line or two before.
"""

import re
from typing import NamedTuple

import yaml


class Position(NamedTuple):
    """A line and a column, both from 1."""

    line: int
    column: int


class YamlFault(NamedTuple):
    """The text is not YAML, or uses a feature that a configuration may not use."""

    place: Position
    message: str


def explain(text: str, error: yaml.YAMLError) -> YamlFault:
    """Return where a text is not YAML, and what would be right there.

    Args:
        text: The text, whole.
        error: What PyYAML's C parser raised for it.
    """
    if isinstance(error, yaml.reader.ReaderError):
        return _character(text, error)
    if not isinstance(error, yaml.MarkedYAMLError):
        return YamlFault(Position(1, 1), f"not YAML: {error}")
    mark = error.problem_mark or error.context_mark
    place = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
    lines = [*text.splitlines(), ""]
    line = lines[min(place.line, len(lines)) - 1]
    problem = error.problem or error.context or ""
    if fault := _tab(lines, place):
        return fault
    begin = error.context_mark
    if "flow" in (error.context or "") and begin is not None:
        opened = lines[begin.line][begin.column : begin.column + 1]
        where = f"line {begin.line + 1}, column {begin.column + 1}"
        return YamlFault(place, f'not YAML: "{opened}" of {where} is not closed, or a comma is missing before this')
    if "found unexpected end of stream" in problem and begin is not None:
        return YamlFault(Position(begin.line + 1, begin.column + 1), "not YAML: this quote is not closed")
    if "could not find expected ':'" in problem and begin is not None:
        return YamlFault(Position(begin.line + 1, begin.column + 1), _KEY.format(lines[begin.line].strip()))
    if "cannot start any token" in problem:
        found = line[place.column - 1 : place.column]
        return YamlFault(place, f'not YAML: a value cannot begin with "{found}"; put it in quotes')
    if "alphabetic or numeric" in problem:
        return YamlFault(place, 'not YAML: a value cannot begin with "*" or "&"; put it in quotes')
    if "undefined alias" in problem:
        name = re.match(r"\*[^\s,\]}]*", line[place.column - 1 :])
        return YamlFault(place, f"not YAML: there is no anchor &{name.group()[1:] if name else ''} above")
    if "another document" in problem:
        return YamlFault(place, "a second document begins here; a configuration is one")
    if "mapping values are not allowed" in problem or "did not find expected" in problem:
        return _indent(lines, place, problem)
    return YamlFault(place, f"not YAML: {problem}")


_KEY = 'not YAML: a key is followed by a colon and a space, such as "name: value"; found "{}"'


def _character(text: str, error: yaml.reader.ReaderError) -> YamlFault:
    found = error.character if isinstance(error.character, int) else ord(error.character)
    before = text[: text.find(chr(found))]
    column = len(before) - (before.rfind("\n") + 1) + 1
    return YamlFault(Position(before.count("\n") + 1, column), f"not YAML: the character U+{found:04X} is not allowed")


def _tab(lines: list[str], place: Position) -> YamlFault | None:
    """Find a tab in the indent of the line, or of the one before: libyaml may stop behind it."""
    for number in (place.line, place.line - 1):
        if number >= 1 and "\t" in (indent := _indent_of(lines[number - 1])):
            return YamlFault(Position(number, indent.index("\t") + 1), "a tab; YAML indents with spaces")
    return None


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _indent(lines: list[str], place: Position, problem: str) -> YamlFault:
    """Explain a key in a wrong place: a line with another indent than its neighbours, or a colon without a space before
    it.
    """
    number = place.line
    above = [(at, lines[at - 1]) for at in range(number - 1, 0, -1) if lines[at - 1].split("#")[0].strip()]
    line = lines[number - 1]
    own = len(_indent_of(line))
    if above and line.strip():
        at, other = above[0]
        near = len(_indent_of(other))
        if glued := re.fullmatch(r"\s*(?:- )?([A-Za-z_]+):([^\s/].*)", other):
            key, value = glued.groups()
            where = Position(at, 1 + other.index(key))
            return YamlFault(where, f'not YAML: write "{key}: {value}", with a space after the colon')
        if own > near and not other.rstrip().endswith((":", "-", "[", "{", ",")):
            return YamlFault(
                Position(number, own + 1),
                f"not YAML: indented by {own}, line {at} by {near}: keys of one mapping align",
            )
        indents = sorted({len(_indent_of(each)) for _, each in above if len(_indent_of(each)) <= near})
        if own < near and own not in indents:
            levels = " or ".join(map(str, indents))
            return YamlFault(Position(number, own + 1), f"not YAML: indented by {own}; the lines above by {levels}")
    return YamlFault(place, f"not YAML: {problem}")
