"""`spectrum export` and `spectrum import`: between files and the store of the control API."""

import os
from pathlib import Path

import click

from spectrum.cli.api import API_SOCKET, request
from spectrum.cli.options import CONFIG, FILE, failure, load
from spectrum.control.paths import store_folder


@click.command(short_help="Print the configuration of file and store as one file.")
@CONFIG
@click.option(
    "-o", "--output", type=FILE, help="Write to this file, readable only by its owner; the default is standard output."
)
@click.option("--secrets", is_flag=True, help="Print secrets. Otherwise environment variables replace them.")
def export(path: Path, output: Path | None, secrets: bool) -> None:
    """Print the whole configuration, of the file and of the API's store, as one file. `spectrum check` can check it,
    and `spectrum import` can load it into the store of another daemon. A running daemon is not needed.
    """
    from spectrum.control.configuration import export as exports  # It loads all models.
    from spectrum.control.configuration.diagnostics import ConfigError
    from spectrum.control.configuration.loader import load_text
    from spectrum.store.errors import StoreError
    from spectrum.store.reading import read_objects, read_tokens

    folder = store_folder(load(path))
    try:
        content, tokens = read_objects(folder), read_tokens(folder)
        made = exports.export(exports.raw_file(path), content, tokens, secrets)
    except (StoreError, ConfigError, ValueError) as exc:
        raise failure(str(exc)) from exc
    for section, name in made.set_aside:
        click.echo(f"{section}.{name} of the store is left out: the file has one of that name", err=True)
    if made.variables:
        click.echo(f"environment variables replace secrets: {', '.join(made.variables)}", err=True)
    _write(made.text, output)
    try:
        load_text(made.text, "the export")
    except ConfigError as exc:
        raise failure(f"the exported configuration has faults:\n{exc}") from exc


@click.command("import", short_help="Load the objects of a file into the store.")
@API_SOCKET
@click.argument("path", metavar="FILE", type=FILE)
def import_(api_path: Path | None, path: Path) -> None:
    """Load the apps, pools, rules, ... of a file into the store of the running daemon, all or none.

    An object of the store that has the same name is replaced, and others stay. Settings of the daemon itself are left
    out.
    """
    from spectrum.control.configuration.diagnostics import ConfigError
    from spectrum.control.configuration.export import importable

    try:
        found = importable(path)
    except (ConfigError, ValueError) as exc:
        raise failure(str(exc)) from exc
    if found.left_out:
        click.echo(f"left out, for the daemon's own file: {', '.join(found.left_out)}", err=True)
    if not found.objects:
        raise failure(f"{path} has no objects")
    made = request(api_path, "POST", "/spectrum/import", {"objects": found.objects})
    click.echo(", ".join(f"{made[what]} {what}" for what in ("created", "updated", "unchanged")))


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text)
    except OSError as exc:
        raise failure(f"{output}: {(exc.strerror or str(exc)).lower()}") from exc
