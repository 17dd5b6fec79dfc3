"""The table of managed rules in docs/ddos-rules.md: `python -m tests.core.ddos.managed_table` writes it."""

from collections.abc import Iterator
from pathlib import Path

from spectrum.core.ddos.managed import RULES

PAGE = Path(__file__).parents[3] / "docs" / "ddos-rules.md"
BEGIN, END = "<!-- rules -->\n", "<!-- end of rules -->"


def _lines() -> Iterator[str]:
    yield "| rule | attack | tags | packets/s beyond normal | action |"
    yield "| --- | --- | --- | --- | --- |"
    for rule in RULES:
        least = f"{rule.threshold('default'):,}"
        tags = " ".join(rule.categories)
        names = f"`{rule.ref}`<br>`{rule.id}`"
        yield f"| {names} | {rule.name}. {rule.description} | {tags} | {least} | `{rule.action}` |"


def table() -> str:
    """Return the table, between its marks."""
    return BEGIN + "\n" + "\n".join(_lines()) + "\n\n" + END


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + table() + rest.partition(END)[2])
