"""Write the manual pages into a folder: commands' from what they print with --help, spectrum.yaml(5) from docs/.

`python scripts/manual.py FOLDER`; the date is that of $SOURCE_DATE_EPOCH. See man(7), man-pages(7), click's Command.
"""

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from spectrum import __version__
from spectrum.cli.commands import main

EXIT_STATUS = (("0", "Success."), ("1", "Failure; the reason is on standard error."), ("2", "A wrong command line."))
FILES = (
    ("/etc/spectrum/spectrum.yaml", "The configuration file: spectrum.yaml(5)."),
    ("/run/spectrum/control.sock", "The control socket of a daemon that root started."),
)


CONFIGURATION = Path(__file__).parent.parent / "docs/configuration.md"


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page's file name, such as `spectrum-run.1`, and its text."""
    for name, text in _pages(main, click.Context(main, info_name="spectrum", **main.context_settings)):
        yield f"{name}.1", text
    yield "spectrum.yaml.5", "\n".join(_from_markdown(CONFIGURATION.read_text())) + "\n"


def _pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    words = context.command_path.split()
    yield "-".join(words), "\n".join(_page(command, context, "-".join(words))) + "\n"
    for name, child in _commands(command, context):
        yield from _pages(child, click.Context(child, info_name=name, parent=context))


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, "it is in the list"
            if not child.hidden:
                yield name, child


def _page(command: click.Command, context: click.Context, name: str) -> Iterator[str]:
    yield _title(name, 1, "User Commands")
    yield ".SH NAME"
    yield f"{escape(name)} \\- {escape(command.get_short_help_str(limit=100).rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield f".B {escape(context.command_path)}"
    yield escape(" ".join(command.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    for number, paragraph in enumerate((command.help or "").split("\n\n")):
        if number:
            yield ".PP"
        yield escape(" ".join(paragraph.split()))
    options = [record for one in command.get_params(context) if (record := one.get_help_record(context))]
    if options:
        yield ".SH OPTIONS"
        yield from _list(options)
    children = [
        (f"spectrum {child}" if context.parent is None else child, one) for child, one in _commands(command, context)
    ]
    if children:
        yield ".SH COMMANDS"
        yield from _list([(child, one.get_short_help_str(limit=100)) for child, one in children])
    if context.parent is None:
        yield ".SH FILES"
        yield from _list(FILES)
        yield ".SH EXIT STATUS"
        yield from _list(EXIT_STATUS)
    related = [f"{name}-{child}(1)" for child, _ in _commands(command, context)]
    if context.parent is not None:
        related.insert(0, f"{context.parent.command_path.replace(' ', '-')}(1)")
    yield ".SH SEE ALSO"
    yield escape(", ".join([*related, "spectrum.yaml(5)"]))


def _title(name: str, section: int, of: str) -> str:
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    return f'.TH "{escape(name.upper())}" {section} "{date}" "Spectrum {__version__}" "{of}"'


def _from_markdown(text: str) -> Iterator[str]:
    """Yield the page of a file of docs/, whose tables become lists: a terminal is too narrow for them."""
    yield _title("spectrum.yaml", 5, "File Formats")
    yield ".SH NAME"
    yield "spectrum.yaml \\- configuration of Spectrum, a layer\\-4 edge"
    heading: list[str] = []
    is_code = False
    for line in text.replace("# Configuration", "## Description", 1).splitlines():
        if line.startswith("```"):
            is_code = not is_code
            yield from (".PP", ".RS 4", ".nf") if is_code else (".fi", ".RE", ".PP")
        elif is_code:
            yield escape(line)
        elif line.startswith("<!--"):
            continue
        elif line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not heading:
                heading = cells
            elif set(line) - set("|- :"):
                yield from _row(heading, cells)
        elif line.startswith("#"):
            marks, _, title = line.partition(" ")
            yield f".{'SH' if len(marks) == 2 else 'SS'} {_plain(title.upper() if len(marks) == 2 else title)}"
        elif line.startswith("- "):
            yield from (".IP \\(bu 2", _plain(line[2:]))
        else:
            yield _plain(line.strip()) if line.strip() else ".PP"
        if not line.startswith("|"):
            heading = []


def _row(heading: list[str], cells: list[str]) -> Iterator[str]:
    yield from (".TP", f".B {_plain(cells[0])}")
    told = [
        f"{name}: {cell}" if name in ("values", "default") else cell for name, cell in zip(heading, cells, strict=True)
    ]
    for number, cell in enumerate(filter(None, told[1:])):
        if number:
            yield ".br"
        yield _plain(cell)


def _plain(text: str) -> str:
    """Return a line of Markdown without its marks; links to other pages keep their words alone."""
    return escape(re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text).replace("`", "").replace("**", "").replace("\\|", "|"))


def _list(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in entries:
        yield ".TP"
        yield f".B {escape(term)}"
        yield escape(" ".join(text.split()))


def escape(text: str) -> str:
    """Return text as roff takes it: what is typed stays a hyphen-minus, and no line is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def write(folder: Path) -> None:
    """Write every page as `NAME.1`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
