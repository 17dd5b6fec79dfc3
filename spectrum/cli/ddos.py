"""`spectrum ddos`: attacks, and what is done about them. Each of its commands has a module of its own."""

import click

from spectrum.cli.ddos_rules import rules


@click.group(short_help="Show attacks, and what is done about them.")
def ddos() -> None:
    """Show attacks, and what is done about them."""


ddos.add_command(rules)
