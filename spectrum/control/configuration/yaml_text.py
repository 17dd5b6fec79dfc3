"""Writes YAML that our own reader reads as the same values: texts are quoted wherever they could be read as something
else.
"""

import re
from typing import Any

import yaml

from spectrum.control.configuration.yaml_marks import Reference, plain_scalar

# Texts that need no quotes: words, paths and origins, durations and sizes, IPv4 addresses and prefixes.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./:@+-]*|[0-9]+[A-Za-z]+|[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]+)?")
_TEXT, _WIDTH = "tag:yaml.org,2002:str", 1 << 30


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, value: str) -> yaml.ScalarNode:
    node: yaml.ScalarNode = dumper.represent_scalar(_TEXT, value, style=None if _is_plain(value) else '"')
    return node


def _reference(dumper: Any, value: Reference) -> yaml.ScalarNode:
    node: yaml.ScalarNode = dumper.represent_scalar(_TEXT, value.text, style=None if value.is_plain else '"')
    return node


def _is_plain(value: str) -> bool:
    return _PLAIN.fullmatch(value) is not None and not value.endswith(":") and isinstance(plain_scalar(value), str)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Reference, _reference)


def as_written(value: Any) -> Any:
    """Return a value as the file must have it: each dollar sign is doubled, so that no reference is resolved."""
    match value:
        case dict():
            return {key: as_written(item) for key, item in value.items()}
        case list():
            return [as_written(item) for item in value]
        case str() if "$" in value:
            return value.replace("$", "$$")
    return value


def yaml_text(value: Any) -> str:
    """Return a file with the given content.

    Args:
        value: Plain values; a text with a dollar sign, and a `Reference`, stand in the file as they are here.
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False)
