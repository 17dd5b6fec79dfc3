"""The control API in a daemon: its listeners and its process, what this may request and change, and its status."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.control.analytics.actor import AnalyticsActor, store_settings
from spectrum.control.api.changes import ObjectChanges, RecordChange, Serve
from spectrum.control.api.keeper import ApiKeeper, ApiPlace
from spectrum.control.api.needs import api_user
from spectrum.control.api.process import ProcessAnswer
from spectrum.control.api.sockets import ApiSockets
from spectrum.control.configuration.actor import Actor, Change, Jobs, Plan, RolloutError
from spectrum.control.configuration.joined import JoinedSource
from spectrum.control.configuration.served import Served
from spectrum.control.configuration.source import NothingNew, Source
from spectrum.control.http.resource import OK, Resource, ResourceRequest, ResourceTable, answered
from spectrum.control.paths import analytics_folder, api_socket, sealing_key, store_folder
from spectrum.control.processes.account import AccountError, have_folder
from spectrum.control.trouble import Trouble
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.joining import SetAside
from spectrum.kernel.sockets import ListenError
from spectrum.link.analytics import PATH
from spectrum.link.encoding import encode
from spectrum.link.succession import Handover
from spectrum.store.sealing import SealingError, have_sealing_key
from spectrum.tasks import in_background, in_thread

log = logging.getLogger(__name__)


class ApiActor(Actor):
    """Serves the control API in a process of its own, where the file has `api`.

    Args:
        control: The daemon's control socket.
        source: Where configurations come from; the objects of the API are added to those of the file.
        served: What is served.
        serve: Serves another configuration.
        busy_with: Returns why nothing can be changed now.
        resources: Returns the resources of the control socket.
        analytics: Gives the process the journal.
        record: Records a change.
    """

    def __init__(
        self,
        control: Path,
        source: Source,
        served: Served,
        serve: Serve,
        busy_with: Callable[[], str],
        resources: Callable[[], Iterable[Resource]],
        analytics: AnalyticsActor,
        record: RecordChange,
    ) -> None:
        self._served = served
        self._serve = serve
        self._source = source if isinstance(source, JoinedSource) else None
        self._sockets = ApiSockets(api_socket(control))
        self._keeper = ApiKeeper(self._answer, lambda: self._settings(served.plan), self._restore)
        self._changes = (
            ObjectChanges(self._source, serve, busy_with, lambda: served.snapshot.generation, record)
            if self._source
            else None
        )
        self._resources = resources
        self._analytics = analytics
        self._table: ResourceTable | None = None
        self._place: ApiPlace | None = None
        self._told: object = None
        # The public key, in hex; empty if there is none.
        self._sealing_key = ""
        self._news = asyncio.Event()
        self._is_successor = False
        if self._source is not None:
            self._source.has_writer = lambda: self._keeper.has_writer
            self._source.changed = self._news.set

    # --- the configuration ----------------------------------------------------------------------------------------

    async def prepare(self, change: Change) -> None:
        """Open the listeners, and create the folder of the store.

        Raises:
            RolloutError: If an address is not available, or the process could not write to the folder.
        """
        config = change.after.config
        if config.api is None or change.names is not None:
            return
        try:
            user = api_user(config)
            await in_thread(have_folder, store_folder(config), user, "api.store")
            if not self._sealing_key:
                self._sealing_key = await in_thread(_have_sealing_key, sealing_key(config))
            await self._sockets.open(config.api.listen, may_wait=change.is_first)
        except (AccountError, ListenError) as exc:
            raise RolloutError(str(exc)) from exc

    async def abort(self, change: Change) -> None:
        """Close the sockets that were opened."""
        self._sockets.undo()

    async def release(self, change: Change) -> None:
        """Serve on the new addresses."""
        config = change.after.config
        if config.api is None:
            self._sockets.drop()
            place = None
        else:
            self._sockets.use(config.api.listen)
            listeners = tuple(self._sockets.descriptors())
            analytics = analytics_folder(config) if config.analytics is not None else None
            place = ApiPlace(
                store_folder(config), api_user(config), listeners, config.api.traces is not None, analytics
            )
        if place != self._place:
            self._place = place
            self._keeper.want(place)
        self._sockets.keep()
        settings = self._settings(change.after)
        if settings != self._told:
            self._told = settings
            self._keeper.tell("settings", settings)

    def _settings(self, plan: Plan) -> dict[str, Any] | None:
        """Return the settings that the process needs before it serves."""
        api = plan.config.api
        if api is None:
            return None
        found = next((one for one in plan.snapshot.tls.certificates if one.name == api.certificate), None)
        return {
            "path": self._source.name if self._source else "",
            "certificate": {"chain": found.chain.decode(), "key": found.key.decode()} if found else None,
            "rate_limit": {"requests": api.rate_limit.requests, "per_s": api.rate_limit.per_s},
            "traces": api.traces.model_dump() if api.traces else None,
            "max_connections": api.max_connections,
            "seccomp": plan.config.seccomp,
            "sealing_key": self._sealing_key,
            "ordering": _ordering(plan.config),
            "analytics": store_settings(plan.config),
        }

    # --- its process ----------------------------------------------------------------------------------------------

    def jobs(self) -> Jobs:
        """Keep the process running, and tell it of changes."""
        return {"keep the API's process": self._keeper.run, "tell the API": self._tell_news}

    async def _tell_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._source is not None and self._keeper.pid:
                self._keeper.tell("objects", await in_background(self._source.view))

    async def _answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> ProcessAnswer:
        """Answer a request of the process."""
        if (method, path) == ("POST", PATH):
            view, files = self._analytics.answer(body)
            return ProcessAnswer(OK, encode(msgspec.json.Encoder(), view), files)
        if (method, path) == ("POST", "/changes") and self._changes is not None and self._source is not None:
            resource = Resource(method, path, lambda asked: self._change(body))
            status, content = await answered(resource, query, b"", os.geteuid())
            return ProcessAnswer(status, encode(msgspec.json.Encoder(), content))
        if self._table is None:
            self._table = ResourceTable(self._resources(), os.geteuid())
        return ProcessAnswer(*await self._table.answer(method, path, query, body))

    async def _change(self, body: bytes) -> dict[str, Any]:
        assert self._changes is not None, "there is a store"
        assert self._source is not None, "there is a store"
        if self._keeper.store != self._source.served.store:
            raise ValueError("the API is about to serve another store")
        return await self._changes.answer(body)

    async def _restore(self) -> None:
        """Serve the contents of the store: changes that the previous process had not written are undone."""
        if self._source is None:
            return
        try:
            attempt = await self._serve(self._source.restored)
        except NothingNew:
            return
        if why := attempt.busy or "; ".join(attempt.errors):
            log.error("the contents of the API's store are not served: %s", why)
        else:
            log.info("the store of the API was read again: generation %d", self._served.snapshot.generation)

    # --- status and metrics ---------------------------------------------------------------------------------------

    def resources(self) -> Iterable[Resource]:
        """GET /objects: the objects of the file, and those of the store that are set aside; /objects/standing: where an
        object is defined.
        """
        if self._source is None:
            return ()
        return Resource("GET", "/objects", self._view), Resource("GET", "/objects/standing", self._standing)

    async def _standing(self, asked: ResourceRequest) -> dict[str, Any]:
        assert self._source is not None, "there is a store"
        section, name = asked.query.get("section", ""), asked.query.get("name", "")
        path, line = await in_thread(self._source.standing, section, name)
        return {"path": path, "line": line}

    async def _view(self, asked: ResourceRequest) -> dict[str, Any]:
        assert self._source is not None, "there is a store"
        return await in_background(self._source.view)

    def processes(self) -> Mapping[str, int]:
        """Return the process of the API."""
        return {"api": self._keeper.pid} if self._keeper.pid else {}

    async def status(self) -> Mapping[str, Any]:
        """Return addresses, process, and the objects of the store that are not served."""
        if self._served.config.api is None:
            return {}
        return {
            "api": {
                "listen": self._sockets.where(),
                "pid": self._keeper.pid,
                "restarts": self._keeper.restarts,
                "why": self._keeper.why,
                "set_aside": [
                    {"section": one.section, "name": one.name, "message": one.message} for one in self._aside()
                ],
            }
        }

    async def metrics(self) -> Iterable[Metric]:
        """Return the metrics of the API's process and of objects that are not served."""
        if self._served.config.api is None:
            return ()
        return (
            GaugeMetricFamily(
                "spectrum_api_up", "1 while the process of the control API serves", value=bool(self._keeper.pid)
            ),
            CounterMetricFamily(
                "spectrum_api_restarts",
                "Processes of the control API that ended by themselves, or were killed because they did not respond",
                value=self._keeper.restarts,
            ),
            GaugeMetricFamily(
                "spectrum_store_objects_set_aside",
                "Objects of the store that conflict with the file, and are not served",
                value=len(self._aside()),
            ),
        )

    def troubles(self) -> Iterable[Trouble]:
        """Report the objects of the store that are not served."""
        for one in self._aside():
            yield Trouble("set_aside", "failed", one.section, one.name, facts={"why": one.message})

    def _aside(self) -> Sequence[SetAside]:
        return self._source.served.aside if self._source is not None else ()

    # --- over the life of the daemon ------------------------------------------------------------------------------

    async def inherit(self, handover: Handover) -> None:
        """Listen on the sockets of the daemon that this one replaces."""
        self._is_successor = True
        self._sockets.inherit(handover.api)

    async def give(self, handover: Handover, opened: ExitStack) -> None:
        """Let a successor listen on the same sockets."""
        handover.api = self._sockets.given()

    def leave(self) -> None:
        """Let the process answer the requests that it has begun; the successor's process waits until it ends."""
        self._keeper.dismiss()

    async def close(self) -> None:
        """End the process and close the sockets."""
        await self._keeper.close()
        self._sockets.close(are_others=self._is_successor and not self._served.is_live)


def _have_sealing_key(path: Path) -> str:
    """Return the public key to which private keys are encrypted; empty if there is none."""
    try:
        return have_sealing_key(path).public_key().public_bytes_raw().hex()
    except SealingError as exc:
        log.error("the API takes no private keys: %s", exc)
        return ""


def _ordering(config: Config) -> dict[str, Any]:
    """Return what certificates the API may order; nothing of how the authorities are reached."""
    limits = config.acme.per_account
    known = config.acme.authorities.items()
    return {
        "authorities": {
            name: {"challenge": one.challenge, "by_dns": one.dns is not None, "validity_days": one.validity_days}
            for name, one in known
        },
        "certificates": limits.certificates,
        "orders_per_week": limits.orders_per_week,
    }
