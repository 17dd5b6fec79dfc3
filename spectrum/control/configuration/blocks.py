"""The text of a file split into one block for each app, and the rest.

It is taken apart by lines, where that is certain to be the same as what YAML has there: block style, names without
quotes, one indent, no anchors. Of any other text nothing is said.
"""

import re
from dataclasses import dataclass

_SECTION = re.compile(r"^apps:[ \t]*(?:#[^\n]*)?\n", re.MULTILINE)
_NO_CONTENT = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*")
_INDENT = re.compile(r" +")
_SECTION_ENDS = re.compile(r"\n(?=[^\s#])")
# After a letter or digit it is not an anchor; one within quotes or comments counts, too.
_ANCHOR = re.compile(r"(?<![0-9A-Za-z])&[0-9A-Za-z_-]")


@dataclass(frozen=True, slots=True)
class Blocks:
    """A text split into blocks.

    Attributes:
        rest: The text with all apps taken out; where they stood there is a key without a value.
        lines: The line of each app's name, from 0.
        apps: The lines of each app, up to the next one.
    """

    rest: str
    lines: list[int]
    apps: list[str]


def name_of(block: str) -> str:
    """Return the name of the app in a block."""
    return block[: block.index(":")].strip()


def may_have_anchors(text: str) -> bool:
    """Return whether a text may have an anchor: its aliases may stand in another block."""
    return _ANCHOR.search(text) is not None


def may_have_references(text: str) -> bool:
    """Return whether a text may have an alias: its anchor stands in another block."""
    return "$" in text


def split(text: str) -> Blocks | None:
    """Return the blocks of a text; None if the boundaries are not certain."""
    if not text.endswith("\n"):
        text += "\n"
    section = _SECTION.search(text)
    if section is None or _SECTION.search(text, section.end()) is not None:
        return None
    gap = _NO_CONTENT.match(text, section.end())
    assert gap is not None, "it may be empty"
    indent = _INDENT.match(text, gap.end())
    if indent is None:
        return None
    begin = gap.end()
    ends = _SECTION_ENDS.search(text, begin - 1)
    end = ends.start() + 1 if ends is not None else len(text)
    starts = _starts(text, begin, end, len(indent.group()))
    if not starts:
        return None
    rest = f"{text[:begin]}{indent.group()}apps:\n{text[end:]}"
    apps = [text[start:stop] for start, stop in zip(starts, [*starts[1:], end], strict=True)]
    lines, line = [], text.count("\n", 0, begin)
    for block in apps:
        lines.append(line)
        line += block.count("\n")
    return Blocks(rest, lines, apps)


def _starts(text: str, begin: int, end: int, indent: int) -> list[int]:
    """Return where each app of a section begins; nothing if a line is something else, or a part of a value."""
    found: list[int] = []
    line = re.compile(rf"\n {{1,{indent}}}(?=[^ #\n\t])([0-9A-Za-z_.-]+:(?=[ \n]))?")
    for match in line.finditer(text, begin - 1, end):
        name = match.start(1)
        if name < 0 or name - match.start() != indent + 1:
            return []
        found.append(match.start() + 1)
    return found
