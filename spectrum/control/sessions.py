"""The open sessions and flows of all workers: they can be listed and ended by operators."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from spectrum.control.configuration.actor import Actor
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.processes.former_workers import FormerWorker
from spectrum.control.processes.workers import WorkerProcess
from spectrum.core.durations import parse_duration_s
from spectrum.core.live_sessions import ORDERS, FirstSessions, LiveSession, Selection, address_port
from spectrum.core.sizes import parse_size
from spectrum.core.snapshot import Snapshot
from spectrum.core.tenants.app_scopes import apps_of_account
from spectrum.core.tenants.checks import owner_of, scope_of
from spectrum.link.takeover import FindSessions, FoundSessions

log = logging.getLogger(__name__)

Worker = WorkerProcess | FormerWorker

# The maximum number in one answer, and the default.
MAX_SESSIONS = 10_000
DEFAULT_SESSIONS = 100
# A worker takes less than a second for 100,000 flows; one of a version without this request does not answer.
ANSWER_TIMEOUT_S = 5.0
LOOK_EVERY_S = 0.1
# A TCP session is identified by its worker's process, a UDP flow by the worker's number: it outlives the process.
_ID = re.compile(r"(u?)([0-9]+)\.([0-9a-f]{1,16})")
MAX_IDS = 500
# Maximum number of names of apps in one question: a packet to a worker has 96 KiB.
MAX_NAMES_BYTES = 32 * 1024


def _text(transport: str, worker: Worker, name: int) -> str:
    return f"u{_place(worker)}.{name:x}" if transport == "udp" else f"{worker.pid}.{name:x}"


def _place(worker: Worker) -> int:
    return worker.place if isinstance(worker, FormerWorker) else worker.number


def parse_ids(texts: Iterable[str]) -> dict[tuple[str, int], list[int]]:
    """Return the names in ids of sessions, by transport and process id, or worker number for UDP.

    Raises:
        ValueError: If one is not an id.
    """
    found: dict[tuple[str, int], list[int]] = {}
    for text in texts:
        parts = _ID.fullmatch(text)
        if parts is None:
            raise ValueError(f'"{text}" is not an id of a session; `spectrum sessions` shows those that are open')
        found.setdefault(("udp" if parts[1] else "tcp", int(parts[2])), []).append(int(parts[3], 16))
    return found


def origin_names(snapshot: Snapshot) -> dict[int, str]:
    """Return the names of load balancers' origins, with that of their pool, by number."""
    return {origin.number: f"{pool.name}/{origin.name}" for pool in snapshot.pools for origin in pool.origins}


class SessionsActor(Actor):
    """Lists open sessions and flows, and ends them.

    Args:
        served: What is served.
        workers: Returns all that may have any, also those from before an upgrade.
    """

    def __init__(self, served: Served, workers: Callable[[], Iterable[Worker]]) -> None:
        self._served = served
        self._workers = workers
        self._asked = 0
        # By the number of the answer.
        self._waiting: dict[int, _WorkerAnswer] = {}

    def resources(self) -> Iterable[Resource]:
        """GET /sessions, and POST /sessions/kill."""
        return Resource("GET", "/sessions", self._show), Resource("POST", "/sessions/kill", self._kill)

    def found(self, message: FoundSessions) -> None:
        """Take a part of a worker's answer."""
        if answer := self._waiting.get(message.number):
            answer.take(message)

    async def _show(self, asked: ResourceRequest) -> dict[str, Any]:
        query = asked.query
        order, limit = query.get("sort", "age"), _whole(query, "limit", DEFAULT_SESSIONS)
        if order not in ORDERS:
            raise ValueError(f'"{order}" is not an order of sessions: {", ".join(ORDERS)}')
        if limit > MAX_SESSIONS:
            raise ValueError(f"limit: {limit} is more than {MAX_SESSIONS}, the maximum")
        selections, ids = self._selections(query)
        answers, silent = await self._ask(selections, ids, order, limit, False)
        names = origin_names(self._served.snapshot)
        first = FirstSessions(order, limit)
        of: dict[int, Worker] = {}
        for answer in answers:
            first.add(answer.sessions)
            of.update((id(one), answer.worker) for one in answer.sessions)
        shown = [_shown(one, of[id(one)], names) for one in first.sorted()]
        return {"sessions": shown, "total": self._total(query, answers), "silent": silent}

    async def _kill(self, asked: ResourceRequest) -> dict[str, Any]:
        query = dict(asked.query)
        by = query.pop("by", "") or f"uid {asked.uid}"
        selections, ids = self._selections(query)
        if not ids and not query.get("app") and all(msgspec.structs.replace(one, apps=()).is_all for one in selections):
            raise ValueError("which sessions? name ids, an app, a client or an origin")
        answers, silent = await self._ask(selections, ids, "age", 0, True)
        total = self._total(query, answers)
        log.warning("%s ended %d sessions and flows: %s", by, total, _described(query))
        return {"killed": total, "silent": silent}

    def _total(self, query: Mapping[str, str], answers: "Iterable[_WorkerAnswer]") -> int:
        """Return the total number; if it is 0, an app that does not exist is an error."""
        total = sum(answer.total for answer in answers)
        app = query.get("app")
        if app and not total and app not in {one.name for one in self._served.snapshot.apps}:
            raise ValueError(f'there is no app "{app}"; `spectrum status` shows all apps')
        return total

    def _selections(self, query: Mapping[str, str]) -> tuple[list[Selection], dict[tuple[str, int], list[int]]]:
        """Return the selection, and names by worker if ids are given.

        Raises:
            ValueError: If the request is malformed.
        """
        texts = query.get("ids", "").split(",") if query.get("ids") else []
        if len(texts) > MAX_IDS:
            raise ValueError(f"ids: {len(texts)} are more than {MAX_IDS}")
        client, account = query.get("client", ""), query.get("account", "")
        if client:
            try:
                ip_network(client, strict=False)
            except ValueError as exc:
                raise ValueError(f'client: "{client}" is neither an address nor a prefix') from exc
            client = str(ip_network(client, strict=False))
        origins, numbers = self._origins(query.get("origin", ""), account)
        selection = Selection(
            client=client,
            origins=origins,
            numbers=numbers,
            min_age_ms=round(_value(query, "older_than", parse_duration_s) * 1000),
            min_bytes=int(_value(query, "min_bytes", parse_size)),
        )
        apps = self._apps(query.get("app", ""), account)
        parts = [()] if apps is None else _parts(apps)
        return [msgspec.structs.replace(selection, apps=part) for part in parts], parse_ids(texts)

    def _apps(self, app: str, account: str) -> Iterable[str] | None:
        """Return the selected apps; None for all, also those that left the file.

        Args:
            app: A name; empty for any.
            account: Those of an account; empty for any.
        """
        own = apps_of_account(self._served.config, account)
        if app and (own is None or app in own):
            return (app,)
        return () if app else own

    def _origins(self, text: str, account: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Return the address, or the numbers of the origins with that name, that a request selects."""
        if not text:
            return (), ()
        names = origin_names(self._served.snapshot)
        config = self._served.config
        if account and len(config.accounts) > 1:
            scope = scope_of(config)
            own = {name for name, pool in config.pools.items() if owner_of(scope, "pools", pool) == account}
            names = {number: name for number, name in names.items() if name.partition("/")[0] in own}
        numbers = tuple(number for number, name in names.items() if text in (name, name.partition("/")[2]))
        if numbers:
            return (), numbers
        host, _, port = text.rpartition(":")
        for address in (text, host if port.isdecimal() else ""):
            with suppress(ValueError):
                plain = str(ip_address(address.removeprefix("[").removesuffix("]")))
                return ((plain if address == text else address_port(plain, int(port))),), ()
        raise ValueError(
            f'origin: "{text}" is neither an address nor an origin of a pool; write POOL/ORIGIN or 192.0.2.1:22'
        )

    async def _ask(
        self,
        selections: Iterable[Selection],
        ids: dict[tuple[str, int], list[int]],
        order: str,
        limit: int,
        ends: bool,
    ) -> "tuple[list[_WorkerAnswer], list[str]]":
        """Return the answers of workers, and the workers that did not answer."""
        changed = asyncio.Event()
        asked: dict[int, _WorkerAnswer] = {}
        for worker in filter(_has_sessions, self._workers()):
            names = None
            if ids:
                keys = {"tcp": ("tcp", worker.pid), "udp": ("udp", _place(worker))}
                names = {transport: tuple(ids[key]) for transport, key in keys.items() if key in ids}
                if not names:
                    continue
            for selection in selections:
                self._asked += 1
                asked[self._asked] = _WorkerAnswer(worker, changed)
                own = msgspec.structs.replace(selection, names=names)
                worker.tell(FindSessions(self._asked, own, order, limit, ends))
        self._waiting |= asked
        try:
            await _wait(asked.values(), changed)
        finally:
            for number in asked:
                del self._waiting[number]
        answers = asked.values()
        silent = [f"worker pid {pid}" for pid in dict.fromkeys(one.worker.pid for one in answers if not one.done)]
        if silent:
            log.warning("no answer about sessions from %s in time", ", ".join(silent))
        return [answer for answer in answers if answer.done], silent


class _WorkerAnswer:
    """The answer of a worker.

    Attributes:
        worker: The worker.
        sessions: Sessions received so far.
        total: The total number.
        done: Whether the answer is complete.
    """

    def __init__(self, worker: Worker, changed: asyncio.Event) -> None:
        self.worker = worker
        self.sessions: list[LiveSession] = []
        self.total = 0
        self.done = False
        self._changed = changed

    def take(self, message: FoundSessions) -> None:
        self.sessions.extend(message.sessions)
        self.total, self.done = message.total, message.last
        if self.done:
            self._changed.set()


async def _wait(answers: Iterable[_WorkerAnswer], changed: asyncio.Event) -> None:
    """Wait for all answers, within a time, as long as their workers run."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ANSWER_TIMEOUT_S
    while any(not answer.done and _has_sessions(answer.worker) for answer in answers) and loop.time() < deadline:
        changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await changed.wait()


def _parts(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Split names into parts that fit into a packet; without names there is no part, which asks for nothing."""
    parts: list[list[str]] = []
    size = MAX_NAMES_BYTES
    for name in names:
        size += len(name)
        if size >= MAX_NAMES_BYTES:
            parts.append([])
            size = len(name)
        parts[-1].append(name)
    return [tuple(part) for part in parts]


def _has_sessions(worker: Worker) -> bool:
    return worker.life.lives if isinstance(worker, FormerWorker) else worker.life.serves


def _value(query: Mapping[str, str], key: str, parse: Callable[[str | int], float]) -> float:
    text = query.get(key, "")
    try:
        return parse(int(text) if text.isdecimal() else text) if text else 0
    except ValueError as exc:
        raise ValueError(f"{key}: {exc}") from exc


def _whole(query: Mapping[str, str], key: str, otherwise: int) -> int:
    text = query.get(key, "")
    if text and not text.isdecimal():
        raise ValueError(f'{key}: "{text}" is not a number')
    return int(text) if text else otherwise


def _described(query: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in query.items() if value)


def _shown(one: LiveSession, worker: Worker, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "id": _text(one.transport, worker, one.name),
        "transport": one.transport,
        "app": one.app,
        "state": one.state,
        "client": address_port(str(ip_address(one.client)), one.client_port),
        "edge": address_port(str(ip_address(one.edge)), one.edge_port),
        "origin": address_port(one.origin, one.origin_port) or None,
        "origin_name": names.get(one.origin_number),
        "age_s": one.age_ms / 1000,
        "idle_s": one.idle_ms / 1000,
        "bytes_from_client": one.from_client,
        "bytes_from_origin": one.from_origin,
        "worker_pid": worker.pid,
    }
