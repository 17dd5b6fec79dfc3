"""Finds where an object of the file is defined, for editors and the dashboard."""

import re
from collections.abc import Iterable
from pathlib import Path

from spectrum.control.configuration.texts import name_of_file

_FIRST_KEY = re.compile(r"^([ \t]+)[^\s#]", re.MULTILINE)
_SECTION_ENDS = re.compile(r"^[^\s#]", re.MULTILINE)


def standing(paths: Iterable[Path], section: str, name: str) -> tuple[str, int | None]:
    """Return the file that defines an object, and the line, from 1; None if unknown. It reads the files, and blocks.

    Args:
        paths: The file, and those that it includes. Paths that are not files, or cannot be read, are ignored.
        section: The section, such as `apps`.
        name: The object's.
    """
    paths = list(paths)
    for path in paths:
        try:
            line = line_of(path.read_text(encoding="utf-8"), section, name)
        except (OSError, UnicodeDecodeError):
            continue
        if line is not None:
            return name_of_file(path), line
    return name_of_file(paths[0]), None


def line_of(text: str, section: str, name: str) -> int | None:
    """Return the line, from 1, of an object's name in a text in block style; None where it is not found."""
    head = re.search(rf"^{re.escape(section)}:[ \t]*(#[^\n]*)?$", text, re.MULTILINE)
    if head is None:
        return None
    ends = _SECTION_ENDS.search(text, head.end())
    end = ends.start() if ends is not None else len(text)
    indent = _FIRST_KEY.search(text, head.end(), end)
    if indent is None:
        return None
    key = re.compile(rf"^{indent.group(1)}(['\"]?){re.escape(name)}\1[ \t]*:(?=\s|$)", re.MULTILINE)
    found = key.search(text, head.end(), end)
    return text.count("\n", 0, found.start()) + 1 if found is not None else None
