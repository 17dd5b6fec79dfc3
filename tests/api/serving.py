"""The API in the test's own process: a real store, the real application, and in place of the daemon what takes all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
from cloudflare import AsyncCloudflare

from spectrum.api.access import Context
from spectrum.api.analytics.asking import Asking
from spectrum.api.analytics.service import AnalyticsService
from spectrum.api.analytics.weekly import WeeklyReports
from spectrum.api.app import make_app
from spectrum.api.authentication import Authentication
from spectrum.api.catalogue import Catalogue, NotLive, ObjectFault
from spectrum.api.intake import Intake
from spectrum.api.live import LiveFeed
from spectrum.api.rates import RequestRates
from spectrum.api.refusals import RefusedAttempts
from spectrum.api.steps import Steps
from spectrum.api.supervisor import ValueRefused
from spectrum.api.token_book import TokenBook
from spectrum.api.traces import Traces
from spectrum.kernel.peers import Peer
from spectrum.store.objects import ObjectChange, new_id
from spectrum.store.store import Store
from spectrum.store.tokens import StoredToken, digest, new_token
from spectrum.tasks import Tasks

BASE = "/client/v4"
# What a daemon answers that has nothing to tell.
NOTHING: dict[str, Any] = {
    "/sessions": {"sessions": [], "total": 0, "silent": []},
    "/sessions/kill": {"killed": 0, "silent": []},
    "/explain": {"steps": []},
    "/attacks": {"attacks": [], "total": 0},
    "/story": {
        "is_kept": False,
        "searched": [],
        "records": [],
        "of_several_clients": [],
        "omitted": 0,
        "refused": 0,
        "reasons": {},
        "notes": [],
    },
    "/status": {"version": "1", "kernel": {}, "workers": []},
    "/limits": {"limits": []},
    "/doctor": {"findings": [], "not_looked": []},
    "/balancing": {"node": "", "pools": [], "load_balancers": []},
    "/apps/figures": {"at": 0.0, "keys": [], "apps": {}, "paused": []},
    "/certificates": {"certificates": []},
    **{f"/certificates/{what}": {} for what in ("order", "forget")},
    "/objects/standing": {},
    **{f"/apps/{what}": {"changed": False, "message": ""} for what in ("pause", "resume")},
    **{f"/origins/{what}": {"changed": False, "message": ""} for what in ("enable", "drain", "disable", "weight")},
}


class Daemon:
    """Takes every change but those to names in `refused`, and remembers what it serves.

    Attributes:
        live: What it serves, by section and name.
        refused: By name what is wrong with it.
        down: Why it answers nothing; empty where it does.
        groups: How many changes came at once, each time.
    """

    def __init__(self) -> None:
        self.live: dict[tuple[str, str], dict[str, Any]] = {}
        self.refused: dict[str, list[ObjectFault]] = {}
        self.down = ""
        self.groups: list[int] = []

    async def change(
        self, asked: Sequence[tuple[str, Sequence[ObjectChange]]], steps: Steps | None = None
    ) -> list[list[ObjectFault]]:
        if steps is not None:
            steps.add([("plan", 1, 2)])
        if self.down:
            raise NotLive(self.down, is_for_now=True)
        groups = [group for _, group in asked]
        self.groups.append(len(groups))
        faults = [[fault for change in group for fault in self.refused.get(change.name, ())] for group in groups]
        for group, found in zip(groups, faults, strict=True):
            for change in () if found else group:
                if change.value is None:
                    self.live.pop((change.section, change.name), None)
                else:
                    self.live[change.section, change.name] = change.value
        return faults

    async def check(self, asked: Sequence[tuple[str, Sequence[ObjectChange]]]) -> list[list[ObjectFault]]:
        """Refuse what `change` would."""
        return [[fault for change in group for fault in self.refused.get(change.name, ())] for _, group in asked]

    async def ask(self, method: str, path: str, query: Any = None, body: Any = None) -> Any:
        """Begin previews, and have none: nothing is probed here; nobody is connected, and nothing kept."""
        if path in NOTHING:
            return NOTHING[path]
        match path:
            case "/previews":
                return {"id": "0" * 32, "pools": body["pools"]}
            case "/preview":
                return {"pools": None}
            case "/attack":
                raise ValueRefused("there is no such attack", is_for_now=False)
        raise NotLive(f"nothing answers {path} here", is_for_now=True)


class Api:
    """All of the process of the API but its sockets.

    Args:
        folder: For the store.
        file: Per section the file's objects by name.
    """

    def __init__(self, folder: Path, file: dict[str, dict[str, Any]] | None = None) -> None:
        self.daemon = Daemon()
        self.store = Store(folder / "store")
        self.tokens = TokenBook(self.store)
        self.catalogue = Catalogue(self.daemon, self.store, "spectrum.yaml")
        self.rates = RequestRates()
        self.peer: Peer | None = None
        self._file = file or {}
        self._tasks = Tasks()
        self.refused = RefusedAttempts(self.catalogue, self.store)
        self.analytics = AnalyticsService(None, lambda settings: None)
        self.live = LiveFeed(self.daemon, self.catalogue, every_s=0.02)
        self.asking = Asking(self.analytics)
        self.weekly = WeeklyReports(None, None)
        context = Context(
            self.catalogue, self.tokens, self.store, self.daemon, self.analytics, self.live, self.asking, self.weekly
        )
        self.context = context
        identify = Authentication(self.tokens).identify
        self.app = Intake(make_app(context), identify, self._count, Traces(), self.refused.note)

    def _count(self, caller: Any) -> Mapping[str, str]:
        return self.rates.count(caller.author.id, 0.0)

    async def __aenter__(self) -> "Api":
        self.store.open()
        file = {section: objects for section, objects in self._file.items() if section != "tokens"}
        self.catalogue.fill(file, self.store.objects())
        self.tokens.fill(self._file.get("tokens", {}), self.store.tokens(), self.store.token_uses())
        self._tasks.start(self.catalogue.write(), "writer")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.live.stop()
        await self.refused.stop()
        await self._tasks.stop()
        self.store.close()

    def client(self, token: str = "", address: str = "192.0.2.7") -> httpx.AsyncClient:
        """Return a client; without a token it is root on this machine."""

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "state": {"peer": None if token else Peer(1, 0)}}, receive, send)

        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(with_peer, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url=f"http://api{BASE}", headers=headers)

    def sdk(self, token: str) -> AsyncCloudflare:
        """Return Cloudflare's official client, which checks each answer as strictly as it can."""
        return AsyncCloudflare(
            api_token=token,
            base_url=f"http://api{BASE}",
            http_client=self.client(token),
            max_retries=0,
            _strict_response_validation=True,
        )

    async def token(self, *permissions: str, **value: Any) -> str:
        """Make a token with these permissions; return its text."""
        text = new_token()
        policy = {
            "permissions": list(permissions),
            **{key: value.pop(key) for key in ("accounts", "zones") if key in value},
        }
        made = StoredToken(new_id(), "test", digest(text), {"policies": [policy], **value}, 1.0, 1.0)
        await self.tokens.put(made, [], 1.0)
        return text
