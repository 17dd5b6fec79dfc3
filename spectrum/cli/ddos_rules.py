"""`spectrum ddos rules`: the managed rules, to which overrides apply."""

import json
from collections.abc import Iterator

import click

from spectrum.cli.options import AS_JSON, failure
from spectrum.core.configuration.faults import nearest
from spectrum.core.ddos.managed import CATEGORIES, RULES, SENSITIVITIES, ManagedRule


@click.command(short_help="List the managed rules: kinds of attacks, their thresholds and actions.")
@click.argument("tags", nargs=-1, metavar="[TAG]...")
@AS_JSON
def rules(tags: tuple[str, ...], as_json: bool) -> None:
    """List the managed rules, or those that have every TAG.

    Overrides name them by reference or by id, and several by a tag: docs/ddos-rules.md. The packets per second are the
    excess over normal that activates a rule by default.
    """
    for tag in tags:
        if tag not in CATEGORIES:
            raise failure(f'no managed rule has the tag "{tag}"{nearest(tag, list(CATEGORIES))}')
    found = [rule for rule in RULES if set(tags) <= set(rule.categories)]
    if as_json:
        click.echo(json.dumps([_told(rule) for rule in found], indent=2))
        return
    for line in _lines(found):
        click.echo(line)


def _told(rule: ManagedRule) -> dict[str, object]:
    return {
        "id": rule.id,
        "ref": rule.ref,
        "name": rule.name,
        "description": rule.description,
        "categories": rule.categories,
        "action": rule.action,
        "packets_per_second": {level: rule.threshold(level) for level in SENSITIVITIES},
    }


def _lines(rules: list[ManagedRule]) -> Iterator[str]:
    rows = [("reference", "pps", "action", "attack", "tags")]
    rows += [
        (rule.ref, f"{rule.threshold('default'):,}", rule.action, rule.name, " ".join(rule.categories))
        for rule in rules
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for ref, rate, *texts in rows:
        cells = [ref.ljust(widths[0]), rate.rjust(widths[1])]
        cells += [text.ljust(width) for text, width in zip(texts, widths[2:], strict=True)]
        yield "  ".join(cells).rstrip()
