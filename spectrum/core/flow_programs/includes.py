"""Which files a flow program in C includes, without a compiler: what it is compiled to depends on them."""

import re
from typing import NamedTuple

# Lines may go on behind a backslash (C11, 5.1.1.2).
_LINE_GOES_ON = re.compile(r"\\\r?\n")
# What only looks like it, in a comment or a string, is taken for it: then more is read than is needed.
_DIRECTIVE = re.compile(r"(?:#|%:|\?\?=)[^\n]*?\b(?:include(?:_next)?|import|embed)\b([^\n]*)")
_QUESTION = re.compile(r"__has_(?:include(?:_next)?|embed)\b([^\n]*)")
_NAME = re.compile(r"[\s(]*([\"<])([^\">\n]+)[\">]")


class Include(NamedTuple):
    """A file that a source includes.

    Attributes:
        name: As the source says it.
        is_quoted: Whether it is looked for beside the source first.
    """

    name: str
    is_quoted: bool


def includes(source: str) -> list[Include] | None:
    """Return the files that a source includes, or asks for; None where it names one by a macro."""
    text = _LINE_GOES_ON.sub("", source)
    found = []
    for pattern in (_DIRECTIVE, _QUESTION):
        for rest in pattern.findall(text):
            if (name := _NAME.match(rest)) is None:
                return None
            found.append(Include(name[2], name[1] == '"'))
    return found
