"""The process of a daemon around a `Supervisor`: its user, its log, its loop and its threads."""

import asyncio
import logging
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import uvloop

from spectrum.control.configuration.machine import made_folders
from spectrum.control.configuration.source import Source
from spectrum.control.paths import control_path, state_folder
from spectrum.control.processes.account import AccountError, leave_root, make_folder
from spectrum.control.processes.helper import Helper
from spectrum.control.processes.launching import have_launcher
from spectrum.control.processes.starting import StartError
from spectrum.control.processes.succession import Predecessor
from spectrum.control.records.stream import record_folders
from spectrum.control.supervisor import Supervisor
from spectrum.control.transparent import NOT_ALLOWED, is_not_allowed
from spectrum.core.configuration.config import Config
from spectrum.garbage import collect_every
from spectrum.kernel import installation, seccomp, signals
from spectrum.kernel.pins import PinError
from spectrum.kernel.scheduling import give_way
from spectrum.log import FORMAT_VARIABLE, LEVEL_VARIABLE, configure_logging
from spectrum.plane.worker import SECCOMP_VARIABLE
from spectrum.tasks import Threads, set_background

log = logging.getLogger(__name__)

# How long threads may go on after everything else has ended.
THREADS_END_S = 2.0
SWITCH_INTERVAL_S = 0.0005
# Added to the nice value that this process starts with and workers keep. The loop's thread has half the weight of a
# worker, because health checks and the response to floods run there; threads for work on all apps have a tenth.
NICE = 3
BACKGROUND_NICE = 10


def serve(
    source: Source,
    config: Config,
    workers: int | None,
    level: str,
    predecessor: Predecessor | None = None,
) -> None:
    """Run the daemon until it is stopped.

    Args:
        source: Where configurations come from.
        config: The first one.
        workers: Overrides its number of workers.
        level: Of the daemon's own messages.
        predecessor: The daemon whose workers, sockets and flows it takes over, if it is an upgrade.

    Raises:
        ListenError: If an address cannot be listened on.
        StartError: If the workers do not serve, or the file's user cannot be used.
    """
    configure_logging(config.log.format == "json", level)
    # A failed look-up leaves cycles of about 10 KB; probes leave none. A collection holds the interpreter's lock while
    # it traverses these objects: 25,000 take 5 to 10 ms on a busy machine.
    collect_every(5_000)
    # Pages are rendered in threads; the default of 5 ms would delay each step of the loop by that.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    os.environ |= {LEVEL_VARIABLE: level, FORMAT_VARIABLE: config.log.format, SECCOMP_VARIABLE: str(config.seccomp)}
    installation.remember()
    if config.seccomp and not seccomp.is_present():
        log.warning("seccomp: libseccomp is not on this machine, workers run without a filter")
    if is_not_allowed(config):
        raise StartError(NOT_ALLOWED)

    helper = Helper(Path(config.kernel.bpffs))
    if config.user is not None:
        is_root = os.geteuid() == 0
        if is_root:
            _start_helper(helper)
        _become(config.user, source.path, config, predecessor)
        if is_root or predecessor is not None:  # The previous daemon has root.
            helper.leave_root()

    async def main() -> None:
        have_launcher()
        give_way(NICE)
        # Signals must reach the main thread, even while it blocks them.
        executor, background = Threads(signals.hold_all), Threads(_begin_background)
        asyncio.get_running_loop().set_default_executor(executor)
        set_background(background)
        await Supervisor(source, config, workers, predecessor, helper).run()
        signals.hold_all()  # without a handler a late one would decide how this process ends

        def end_threads() -> None:
            executor.shutdown()
            background.shutdown()

        ending = threading.Thread(target=end_threads, daemon=True)
        ending.start()
        ending.join(THREADS_END_S)
        if ending.is_alive():
            log.warning("ending although a file is being read: a pipe, or a file system that does not answer")
            logging.shutdown()
            os._exit(0)

    uvloop.run(main())


def _begin_background() -> None:
    signals.hold_all()
    give_way(BACKGROUND_NICE - NICE)  # it has that of the main thread, which starts it


def _start_helper(helper: Helper) -> None:
    try:
        helper.start()
    except PinError as exc:
        raise StartError(str(exc)) from exc


def _become(user: str, path: Path | None, config: Config, predecessor: Predecessor | None) -> None:
    """Run as the file's user from here on; the control socket stays in root's folder."""
    folder, before = control_path(config).parent, os.geteuid()
    state = state_folder(control_path(config))
    # Without it no app can be paused; nothing else needs it.
    with suppress(OSError, AccountError):
        make_folder(state, user)
    try:
        leave_root(user, path, folder, config.control is not None, (*record_folders(config), *made_folders(config)))
    except AccountError as exc:
        fault = str(exc)
    else:
        # The workers and sockets of the previous daemon are owned by another user.
        fault = "user changed: that requires a restart" if predecessor and os.geteuid() != before else ""
    if fault:
        if predecessor is not None:
            predecessor.refuse([fault])
        raise StartError(fault)
    if config.control is None and os.geteuid() != before:
        os.environ["RUNTIME_DIRECTORY"] = str(folder)
    os.environ["STATE_DIRECTORY"] = str(state.parent)
