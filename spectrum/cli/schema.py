"""`spectrum schema`: the JSON Schema of the file for editors."""

import json

import click


@click.command(short_help="Print a JSON Schema of the file.")
def schema() -> None:
    """Print a JSON Schema of the configuration file, with which editors complete and check it."""
    from spectrum.control.configuration import schema as file  # It loads all models.

    click.echo(json.dumps(file.schema(), indent=2))
