"""The process of the API: start, privileges, services, and end.

It ends with its supervisor, or on a signal. Open requests are answered first.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from spectrum.api.access import Context
from spectrum.api.analytics.asking import Asking
from spectrum.api.analytics.reporting import ReportSubject, facts_of, load_printer, pools_of, printed
from spectrum.api.analytics.service import AnalyticsService
from spectrum.api.analytics.stores import make_store
from spectrum.api.analytics.weekly import WeeklyReports
from spectrum.api.app import make_app
from spectrum.api.authentication import Authentication
from spectrum.api.caller import Caller
from spectrum.api.catalogue import Catalogue, NotLive
from spectrum.api.connection import Connection
from spectrum.api.intake import Intake
from spectrum.api.listeners import Listeners
from spectrum.api.live import LiveFeed
from spectrum.api.rates import RequestRates
from spectrum.api.refusals import RefusedAttempts
from spectrum.api.supervisor import DaemonLink
from spectrum.api.token_book import TokenBook
from spectrum.api.traces import Traces
from spectrum.child import begin_child, forbid_rings
from spectrum.core.analytics.report import report
from spectrum.kernel import installation, signals
from spectrum.kernel.hardening import harden
from spectrum.kernel.scheduling import give_way
from spectrum.kernel.sockets import raise_descriptor_limit
from spectrum.link.api import ApiClient
from spectrum.log import log_spare_signals
from spectrum.store.audit import Author
from spectrum.store.errors import StoreError
from spectrum.store.objects import StoredObject
from spectrum.store.store import Store
from spectrum.tasks import Tasks, in_thread

log = logging.getLogger(__name__)

# Time for the previous process to release the store.
STORE_TIMEOUT_S = 10.0
# Beside Python the password database; DuckDB reads the limits of control groups.
READABLE = (*installation.readable(), "/etc", "/sys/fs/cgroup")
NONE = "-"
SWITCH_INTERVAL_S = 0.0005
# Added to the nice value of workers, which have priority on the same processors. Where these are busy, requests still
# have a quarter of one: the dashboard answers in an attack.
NICE = 5


class ApiService:
    """The services of the process.

    Args:
        link: The link to the supervisor.
        folder: The folder of the store.
        analytics: The folder of the store of analytics; None for none.
        user: The user to run as; `-` to keep the current one.
        sockets: Listening sockets.
    """

    def __init__(
        self, link: socket.socket, folder: Path, analytics: Path | None, user: str, sockets: Sequence[socket.socket]
    ) -> None:
        self._folder = folder
        self._analytics_folder = analytics
        self._user = user
        self._store = Store(folder)
        self._settings: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._rates = RequestRates()
        self._traces = Traces()
        self._tasks = Tasks()
        self._client = ApiClient(link, self._told, self._ended.set)
        supervisor = DaemonLink(self._client)
        self._tokens = TokenBook(self._store)
        self._catalogue = Catalogue(supervisor, self._store, "the file", diverged=self._ended.set)
        self._analytics = AnalyticsService(self._client, make_store)
        self._live = LiveFeed(supervisor, self._catalogue)
        self._asking = asking = Asking(self._analytics)
        self._weekly = WeeklyReports(self._report, printed)
        self._context = Context(
            self._catalogue, self._tokens, self._store, supervisor, self._analytics, self._live, asking, self._weekly
        )
        self._supervisor = supervisor
        self._refused = RefusedAttempts(self._catalogue, self._store)
        self._sockets = sockets
        self._listeners: Listeners | None = None

    async def run(self) -> None:
        """Serve until the supervisor ends, or a signal arrives."""
        loop = asyncio.get_running_loop()
        log_spare_signals(loop)
        loop.add_signal_handler(signal.SIGTERM, self._ended.set)
        signals.release({signal.SIGTERM})
        identify = Authentication(self._tokens).identify
        app = Intake(make_app(self._context), identify, self._count, self._traces, self._refused.note)
        listeners = Listeners(app, self._sockets)
        self._client.ready()
        try:
            settings = await self._first_settings()
            if settings is None:
                return
            self._traces.configure(settings.get("traces"))
            if settings.get("analytics"):
                await in_thread(load_printer)
            folders = [self._folder, *([self._analytics_folder] if self._analytics_folder else [])]
            harden(self._user, READABLE, folders, bool(settings.get("seccomp")))
            await in_thread(self._store.open, STORE_TIMEOUT_S)
            await self._fill(await self._supervisor.objects())
            self._listeners = listeners
            self._apply(settings)
            self._tasks.start(self._catalogue.write(), "write changes of the API")
            self._tasks.keep(self._weekly.run, "write weekly reports")
            self._tasks.keep(self._tokens.keep_uses, "write when tokens were used")
            await listeners.start()
            self._client.serving()
            await self._ended.wait()
            await self._live.stop()  # those streams do not end by themselves
            await listeners.stop()
        finally:
            await self._live.stop()
            await self._refused.stop()
            await self._tasks.stop()
            await self._tokens.write_uses()
            await self._analytics.stop()
            await in_thread(self._traces.close)
            self._client.close()
            self._store.close()

    async def _first_settings(self) -> Mapping[str, Any] | None:
        ended = asyncio.ensure_future(self._ended.wait())  # noqa: TID251 - it ends in the next line
        await asyncio.wait((self._settings, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        return self._settings.result() if self._settings.done() else None

    def _told(self, subject: str, body: Any) -> None:
        match subject:
            case "settings" if not self._settings.done():
                self._settings.set_result(body)
            case "settings":
                self._apply(body)
            case "objects":
                self._catalogue.refill(partial(self._fill, body))

    def _apply(self, settings: Mapping[str, Any]) -> None:
        sealing_key = settings.get("sealing_key")
        self._context.sealing.public = bytes.fromhex(sealing_key) if sealing_key else None
        self._context.ordering.configure(settings.get("ordering"))
        rate = settings.get("rate_limit") or {}
        self._traces.configure(settings.get("traces"))
        self._rates.requests = rate.get("requests", self._rates.requests)
        self._rates.per_s = rate.get("per_s", self._rates.per_s)
        analytics = settings.get("analytics")
        # If analytics is in another folder, only the next process may access it.
        if analytics and analytics["folder"] != str(self._analytics_folder):
            analytics = None
        self._weekly.configure(analytics)
        self._analytics.configure({key: value for key, value in (analytics or {}).items() if key != "reports"} or None)
        Connection.most = settings.get("max_connections", Connection.most)
        self._catalogue.path = settings.get("path") or self._catalogue.path
        certificate = settings.get("certificate")
        if certificate and self._listeners is not None:
            try:
                self._listeners.set_certificate(certificate["chain"], certificate["key"])
            except OSError as exc:
                log.error("the certificate of the API cannot be used, the former one stays: %s", exc)

    async def _fill(self, answer: Mapping[str, Any]) -> None:
        """Replace all objects and tokens by those of file and store; `answer` has the file's."""
        file: Mapping[str, Mapping[str, Any]] = answer.get("file") or {}
        stored: Iterable[StoredObject] = await in_thread(lambda: list(self._store.objects()))
        sections = {section: objects for section, objects in file.items() if section != "tokens"}
        self._catalogue.fill(sections, stored, answer.get("modified_on", 0.0))
        tokens, uses = await in_thread(lambda: (self._store.tokens(), self._store.token_uses()))
        self._tokens.fill(file.get("tokens") or {}, tokens, uses)

    async def _report(self, since: float, until: float) -> Mapping[str, Any]:
        """Return a report of the whole node."""
        subject = ReportSubject(socket.gethostname(), pools_of(self._catalogue.all("pools")), None)
        own = Caller(Author("system", "", "spectrum"))
        return report(await facts_of(lambda one: self._asking.ask(own, one, _never), subject, since, until))

    def _count(self, caller: Caller) -> Mapping[str, str]:
        if caller.is_local:
            return {}
        return self._rates.count(caller.author.id, time.time())


async def _never() -> None:
    """Wait forever: a scheduled question has no client that disconnects."""
    await asyncio.Event().wait()


def main() -> None:
    """Run the API's process.

    The arguments are the descriptor of the link, the folder of the store, that of the store of analytics and the user
    to run as (`-` for none), and the descriptors of listening sockets.
    """
    begin_child("the API", "spectrum-api")
    raise_descriptor_limit()
    forbid_rings()
    link, folder, analytics, user, *listeners = sys.argv[1:]
    # The intake computes in a thread; the default of 5 ms would delay each step of the loop by that.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    give_way(NICE)
    os.chdir("/")

    async def serve() -> None:
        sockets = [socket.socket(fileno=int(one)) for one in listeners]
        store = None if analytics == NONE else Path(analytics)
        await ApiService(socket.socket(fileno=int(link)), Path(folder), store, user, sockets).run()
        signals.hold_all()

    try:
        uvloop.run(serve())
    except (StoreError, NotLive, OSError, KeyError) as exc:
        sys.exit(f"the API ends: {exc}")
