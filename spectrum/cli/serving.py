"""`spectrum run` and `spectrum check`: commands that read a file of this machine."""

from pathlib import Path

import click

from spectrum.cli.options import CONFIG, failure, load
from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.joined import JoinedSource
from spectrum.control.configuration.loader import KnownObjects, load_file
from spectrum.control.configuration.machine import warnings_of_start
from spectrum.control.configuration.source import FileSource
from spectrum.control.configuration.texts import STANDARD_INPUT, keep_standard_input, name_of_file
from spectrum.control.configuration.watch import FilesRead
from spectrum.control.daemon import serve
from spectrum.control.paths import store_folder
from spectrum.control.processes.starting import StartError
from spectrum.control.processes.succession import OPTION as SUCCEED
from spectrum.control.processes.succession import Predecessor
from spectrum.control.tls.certificates import load_tls, soon_to_end
from spectrum.core.configuration.config import MAX_WORKERS, Config
from spectrum.core.features import idle
from spectrum.kernel.sockets import ListenError
from spectrum.store.errors import StoreError


@click.command(short_help="Serve the apps of a file.")
@CONFIG
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), help="Number of workers; overrides the file.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Level of the daemon's own messages on standard error.",
)
@click.option("--watch", is_flag=True, help="Reload when the file changes.")
@click.option(SUCCEED, "succeed", type=int, hidden=True)
def run(path: Path, workers: int | None, log_level: str, watch: bool, succeed: int | None) -> None:
    """Serve the apps of a file.

    Session records go to standard output, one line each; messages to standard error. SIGTERM or Ctrl-C drains: no new
    sessions are accepted, and open ones have the file's drain_timeout to end; a second signal ends them. SIGHUP reloads
    the file.
    """
    if watch and path == STANDARD_INPUT:
        raise click.UsageError("--watch: standard input cannot be read again; name a file")
    predecessor = Predecessor(succeed) if succeed is not None else None
    files, known = FilesRead(), KnownObjects()
    try:
        if path == STANDARD_INPUT:
            keep_standard_input()
        config = load_file(path, files.reading, known, is_start=True)
    except ConfigError as exc:
        if predecessor is not None:
            predecessor.refuse([str(diagnostic) for diagnostic in exc.diagnostics])
        raise failure(str(exc)) from exc
    try:
        source = JoinedSource(FileSource(path, watch, files, known=known), store_folder)
        serve(source, _joined(source, config, predecessor), workers, log_level.upper(), predecessor)
    except (ListenError, StartError, StoreError) as exc:
        raise failure(str(exc)) from exc


def _joined(source: JoinedSource, config: Config, predecessor: Predecessor | None) -> Config:
    """Return the configuration of a file joined with its store."""
    try:
        return source.start(config)
    except StoreError as exc:
        if predecessor is not None:
            predecessor.refuse([str(exc)])
        raise


@click.command(short_help="Print every fault of a file.")
@CONFIG
def check(path: Path) -> None:
    """Check a file and print every fault with its line and column, and why a daemon started by this user would refuse
    to serve it.

    Certificates that have expired, or soon will, and settings without effect are not faults: they are reported on
    standard error.
    """
    known = KnownObjects()
    config = load(path, known, is_start=True)
    listeners = sum(len(app.bound_ports) * max(1, len(app.addresses)) for app in config.apps.values())
    for line in (*soon_to_end(load_tls(config)), *idle(config), *warnings_of_start(config)):
        click.echo(f"warning: {line}", err=True)
    apps = len(config.apps)
    on = f"{listeners} listener{'s' * (listeners != 1)}"
    if len(known.apps) > 1:
        for name, count in known.apps:
            click.echo(f"{name}: {count} app{'s' * (count != 1)}")
        click.echo(f"{len(known.apps)} files: {apps} app{'s' * (apps != 1)} on {on}, no faults")
        return
    click.echo(f"{name_of_file(path)}: {apps} app{'s' * (apps != 1)} on {on}, no faults")
