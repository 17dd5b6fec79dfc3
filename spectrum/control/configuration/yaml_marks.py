"""YAML 1.2 with the place of every value, read by PyYAML's C parser.

PyYAML alone reads YAML 1.1 (`off` is false, `22:22` is 1342, `010` is 8) and keeps the last of two equal keys. This
loader resolves the core schema of YAML 1.2 (section 10.3.2), refuses equal keys, and remembers line and column. Of YAML
1.1 it has merge keys (yaml.org/type/merge.html), which files of other programs have too.
"""

import re
from typing import Any, NamedTuple

import yaml

from spectrum.control.configuration.yaml_faults import Position, YamlFault, explain

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_QUOTES = ("'", '"', "|", ">")
Path = tuple[str | int, ...]


class Reference(NamedTuple):
    """A value with a dollar sign, which may contain references.

    Attributes:
        text: The text in the file.
        is_plain: Whether it is without quotes: it may resolve to a number.
    """

    text: str
    is_plain: bool


class Document:
    """A parsed text: `value`, the `faults` that parsing found, and the place of every key and value.

    Values with a dollar sign are a `Reference`.
    """

    def __init__(self, text: str) -> None:
        self.faults: list[YamlFault] = []
        self.value: Any = None
        self._root: yaml.Node | None = None
        try:
            self._root = yaml.compose(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as exc:
            self.faults.append(explain(text, exc))
        else:
            self.value = None if self._root is None else self._construct(self._root, frozenset())

    def place(self, path: Path, at_key: bool = False) -> Position:
        """Return the place of `path`, or the nearest enclosing place; `at_key` means the key, not the value."""
        at_value = of_key = Position(1, 1)
        node = self._root
        if node is not None:
            at_value = _position(node)
        for step in path:
            key, node = _step(node, step)
            if node is None:
                break
            at_value = _position(node)
            of_key = _position(key) if key is not None else of_key
        return of_key if at_key else at_value

    def lines(self, section: str) -> list[tuple[str, int]]:
        """Return the keys of a top-level mapping, each with its line from 0."""
        _, node = _step(self._root, section)
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        return [(key.value, key.start_mark.line) for key in keys]

    def _construct(self, node: yaml.Node, open_anchors: frozenset[int]) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in open_anchors:
            self.faults.append(YamlFault(_position(node), "an alias that contains itself"))
            return None
        open_anchors |= {id(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self._construct(item, open_anchors) for item in node.value]
        assert isinstance(node, yaml.MappingNode), "the three kinds of YAML nodes"
        return self._mapping(node, open_anchors)

    def _mapping(self, node: yaml.MappingNode, open_anchors: frozenset[int]) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        own: list[tuple[yaml.Node, yaml.Node]] = []
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        first: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(YamlFault(_position(key_node), "a key is text, not a list or a mapping"))
                continue
            # Keys are names here: `on`, `8080` and `null` are the text that stands there.
            key = key_node.value
            if key in first:
                hint = "; one merge key takes a list" if _is_merge(key_node) else ""
                line = _position(first[key]).line
                fault = f'"{key}" stands here twice, first at line {line}{hint}'
                self.faults.append(YamlFault(_position(key_node), fault))
                continue
            first[key] = key_node
            if _is_merge(key_node):
                merged += self._merged(value_node, open_anchors)
                continue
            own.append((key_node, value_node))
            mapping[key] = self._construct(value_node, open_anchors)
        for key_node, value_node in merged:
            if key_node.value not in mapping:
                own.append((key_node, value_node))
                mapping[key_node.value] = self._construct(value_node, open_anchors)
        # From now on the mapping has what is merged into it, where it stands.
        node.value = own
        return mapping

    def _merged(self, node: yaml.Node, open_anchors: frozenset[int]) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return the keys and values that a merge key adds, those with precedence first."""
        found: list[tuple[yaml.Node, yaml.Node]] = []
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(each, yaml.MappingNode):
                message = "a merge key takes a mapping, such as *name, or a list of them"
                self.faults.append(YamlFault(_position(each), message))
            elif self._construct(each, open_anchors) is not None:  # it has what is merged into it
                found += each.value
        return found


def _is_merge(key: yaml.ScalarNode) -> bool:
    return key.value == "<<" and key.style not in _QUOTES


def _position(node: yaml.Node) -> Position:
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)


def _step(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return the key and the value of a step of a path: no key in a list, neither if it does not exist."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return key, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and 0 <= step < len(node.value):
        return None, node.value[step]
    return None, None


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    is_plain = node.style not in _QUOTES
    if "$" in text:
        return Reference(text, is_plain)
    return plain_scalar(text) if is_plain else text


def plain_scalar(text: str) -> Any:
    """Return the value of a text that is not in quotes (YAML 1.2, section 10.3.2)."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
