"""The story of a client for clients of the daemon, from the journal; `spectrum story` reads it without a daemon."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spectrum.control.configuration.actor import Actor
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.records.places import journal_of
from spectrum.control.records.search import RecordPlaces, as_plain, search
from spectrum.core.records.story import Window, parse_subject, parse_time
from spectrum.core.tenants.app_scopes import apps_of_account
from spectrum.tasks import in_background

MAX_RECORDS = 10_000
DEFAULT_RECORDS = 1000
# A search takes a second for a million records. With this many waiting, further requests are refused.
MAX_WAITING = 3


class StoryActor(Actor):
    """Answers requests for stories.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._turn = asyncio.Lock()
        self._waiting = 0

    def resources(self) -> Iterable[Resource]:
        """GET /story."""
        return (Resource("GET", "/story", self._tell),)

    async def _tell(self, asked: ResourceRequest) -> dict[str, Any]:
        query, config = asked.query, self._served.config
        subject = parse_subject(query.get("subject", ""))
        now = datetime.now(UTC)
        window = Window(*(parse_time(query[key], now) if query.get(key) else None for key in ("since", "until")))
        text = query.get("limit", str(DEFAULT_RECORDS))
        if not text.isdecimal() or not 0 < int(text) <= MAX_RECORDS:
            raise ValueError(f"limit: from 1 to {MAX_RECORDS}")
        if self._waiting >= MAX_WAITING:
            return {"busy": "other searches are running"}
        journal = journal_of(config)
        places = RecordPlaces(Path(journal.path) if journal is not None else None)
        apps = apps_of_account(config, query.get("account", ""))
        self._waiting += 1
        try:
            async with self._turn:
                found = await in_background(search, places, subject, window, int(text), apps)
        except OSError as exc:
            raise ValueError(f"{exc.filename}: {(exc.strerror or str(exc)).lower()}") from exc
        finally:
            self._waiting -= 1
        return as_plain(subject, found) | {"is_kept": journal is not None}
