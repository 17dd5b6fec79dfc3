"""`spectrum ddos`: attacks and their mitigation. Each of its commands has a module of its own."""

import click

from spectrum.cli.ddos_attacks import attacks, explain, pcap, show
from spectrum.cli.ddos_profile import preview, profile
from spectrum.cli.ddos_programs import program, programs
from spectrum.cli.ddos_rules import rules
from spectrum.cli.ddos_simulate import simulate
from spectrum.cli.ddos_tcp import tcp


@click.group(short_help="Show attacks and their mitigation.")
def ddos() -> None:
    """Show attacks and their mitigation."""


ddos.add_command(attacks)
ddos.add_command(explain)
ddos.add_command(pcap)
ddos.add_command(preview)
ddos.add_command(profile)
ddos.add_command(program)
ddos.add_command(programs)
ddos.add_command(rules)
ddos.add_command(show)
ddos.add_command(simulate)
ddos.add_command(tcp)
