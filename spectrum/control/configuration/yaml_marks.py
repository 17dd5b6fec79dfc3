"""YAML 1.2 with the place of every value, read by PyYAML's C parser.

PyYAML alone reads YAML 1.1 (`off` is false, `22:22` is 1342, `010` is 8) and keeps the last of two equal keys. This
loader resolves the core schema of YAML 1.2 (section 10.3.2), refuses equal keys, and remembers line and column.
"""

import re
from typing import Any

import yaml

from spectrum.control.configuration.yaml_faults import Position, YamlFault, explain

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
Path = tuple[str | int, ...]


class Document:
    """A parsed text: `value`, the `faults` that parsing found, and the place of every key and value."""

    def __init__(self, text: str) -> None:
        self.faults: list[YamlFault] = []
        self._values: dict[Path, Position] = {}
        self._keys: dict[Path, Position] = {}
        self.value: Any = None
        try:
            node = yaml.compose(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as exc:
            self.faults.append(explain(text, exc))
        else:
            self.value = None if node is None else self._construct(node, (), set())

    def place(self, path: Path, at_key: bool = False) -> Position:
        """Return where `path` stands, or the nearest enclosing place; `at_key` means the key, not the value."""
        for length in range(len(path), -1, -1):
            prefix = path[:length]
            found = (self._keys if at_key else self._values).get(prefix) or self._keys.get(prefix)
            if found:
                return found
        return Position(1, 1)

    def _construct(self, node: yaml.Node, path: Path, open_anchors: set[int]) -> Any:
        place = Position(node.start_mark.line + 1, node.start_mark.column + 1)
        self._values[path] = place
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in open_anchors:
            self.faults.append(YamlFault(place, "an alias that contains itself"))
            return None
        open_anchors = open_anchors | {id(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self._construct(item, (*path, i), open_anchors) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode), "the three kinds of YAML nodes"
        return self._mapping(node, path, open_anchors)

    def _mapping(self, node: yaml.MappingNode, path: Path, open_anchors: set[int]) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            place = Position(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(YamlFault(place, "a key is text, not a list or a mapping"))
                continue
            # Keys are names here: `on`, `8080` and `null` are the text that stands there.
            key = key_node.value
            if key in mapping:
                first = self._keys[(*path, key)]
                self.faults.append(YamlFault(place, f'"{key}" stands here twice, first at line {first.line}'))
                continue
            self._keys[(*path, key)] = place
            mapping[key] = self._construct(value_node, (*path, key), open_anchors)
        return mapping


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style in ("'", '"', "|", ">"):
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
