"""Origins that operators disable, drain or weigh until that is undone; a file keeps this over restarts."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric

from spectrum.control.balancing.health import NO_OVERRIDE, HealthKeeper
from spectrum.control.configuration.actor import Actor, Change
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.control.state_file import read_state, since_text, write_state
from spectrum.core.balancing.overrides import Out, Override
from spectrum.core.snapshot import Snapshot

log = logging.getLogger(__name__)

_DECODER = msgspec.json.Decoder(dict[str, Override])
# The actions, the state that each gives an origin, and the words for it.
_OUT: dict[str, tuple[Out, str]] = {
    "disable": ("disable", "is disabled: no new sessions, UDP flows get another origin, TCP sessions continue"),
    "drain": ("drain", "is drained: no new sessions, open ones continue"),
    "enable": ("", "serves again, as far as it is healthy"),
}


class OriginsActor(Actor):
    """Sets overrides of origins. A name that leaves the file keeps its override.

    Args:
        path: The file that keeps the overrides.
        served: What is served.
        health: Applies them to health.
    """

    def __init__(self, path: Path, served: Served, health: HealthKeeper) -> None:
        self._path = path
        self._served = served
        self._health = health
        # By POOL/ORIGIN. None until the file has been read.
        self._overrides: dict[str, Override] | None = None
        self._turn = asyncio.Lock()

    def compile(self, snapshot: Snapshot) -> Snapshot:
        """Read the file before the first configuration is served.

        Raises:
            RolloutError: If the file cannot be read: origins that are out of service must not get clients silently.
        """
        if self._overrides is None:
            self._overrides = read_state(self._path, _DECODER, "origins are set by hand")
            for name, override in self._overrides.items():
                log.warning("origin %s: %s", name, told(override))
        return snapshot

    async def commit(self, change: Change) -> None:
        """Apply the overrides before health is sent for the first time."""
        if change.is_first:
            self._health.overrides = _by_pool(self._known())

    def _known(self) -> dict[str, Override]:
        return self._overrides or {}

    # --- status and metrics ---------------------------------------------------------------------------------------

    async def status(self) -> Mapping[str, Any]:
        """Return the overrides, since when they are set, and by whom."""
        names = self._names()
        return {
            "origins_by_hand": [
                {
                    "origin": name,
                    "out": override.out or None,
                    "weight": override.weight,
                    "since": since_text(override.since),
                    "uid": override.uid,
                    "in_file": name in names,
                }
                for name, override in sorted(self._known().items())
            ]
        }

    async def metrics(self) -> Iterable[Metric]:
        """Return a series for each origin that is out of service, and for each that has a weight set by an operator."""
        labels = ["pool", "origin"]
        out = GaugeMetricFamily(
            "spectrum_origin_out_by_hand", "1 while an operator drains or disables it", labels=[*labels, "how"]
        )
        weight = GaugeMetricFamily("spectrum_origin_weight_by_hand", "The weight an operator set", labels=labels)
        for name, override in sorted(self._known().items()):
            of = _key(name)
            if override.out:
                out.add_metric([*of, override.out], 1)
            if override.weight is not None:
                weight.add_metric(of, override.weight)
        return out, weight

    def resources(self) -> Iterable[Resource]:
        """POST /origins/disable, drain, enable and weight, with an `origin` and a `value`."""
        for what in _OUT:
            yield Resource("POST", f"/origins/{what}", self._setter(what))
        yield Resource("POST", "/origins/weight", self._weigh)

    def _setter(self, what: str) -> Any:
        out, words = _OUT[what]

        async def answer(asked: ResourceRequest) -> dict[str, Any]:
            return await self._set(asked, words, out=out)

        return answer

    async def _weigh(self, asked: ResourceRequest) -> dict[str, Any]:
        text = asked.query.get("value", "")
        try:
            weight = float(text) if text else None
        except ValueError:
            weight = -1.0
        if weight is not None and not 0 <= weight <= 1:
            raise ValueError(f'"{text}" is not a weight; write a number from 0 to 1')
        words = "has the weight of the file again" if weight is None else f"has weight {weight:g}"
        return await self._set(asked, words, weight=weight)

    # --- actions --------------------------------------------------------------------------------------------------

    async def _set(self, asked: ResourceRequest, words: str, **fields: Any) -> dict[str, Any]:
        """Set an override of an origin: here, in the file and in workers.

        Raises:
            ValueError: If there is no such origin, or the file cannot be written.
        """
        name = asked.query.get("origin", "")
        async with self._turn:
            before = self._known().get(name)
            if before is None:
                await self._check(name)
            override = msgspec.structs.replace(before or NO_OVERRIDE, **fields)
            if override == (before or NO_OVERRIDE):
                return {"changed": False, "message": f"origin {name} {words} already"}
            override = msgspec.structs.replace(override, since=time.time(), uid=asked.uid)
            overrides = {other: one for other, one in self._known().items() if other != name}
            if not override.is_nothing:
                overrides[name] = override
            try:
                await asyncio.to_thread(write_state, self._path, overrides)
            except OSError as exc:
                why = (exc.strerror or str(exc)).lower()
                raise ValueError(f"it cannot be kept: {self._path}: {why}; nothing has changed") from exc
            self._overrides = overrides
            self._health.override(_by_pool(overrides))
        log.warning("origin %s %s, by uid %d", name, words, asked.uid)
        return {"changed": True, "message": f"origin {name} {words}"}

    def _names(self) -> list[str]:
        return [f"{pool.name}/{origin.name}" for pool in self._served.snapshot.pools for origin in pool.origins]

    async def _check(self, name: str) -> None:
        """Raise ValueError for a name that is not an origin's."""
        names = self._names()
        if name not in names:
            near = await asyncio.to_thread(get_close_matches, name, names)
            hint = (
                f"did you mean {' or '.join(near)}?" if near else "write POOL/ORIGIN, as `spectrum status` shows them"
            )
            raise ValueError(f'there is no origin "{name}" in a pool; {hint}')


def told(override: Override) -> str:
    """Return an override: what is set, since when and by whom."""
    words = {"disable": "disabled", "drain": "drained", "": ""}[override.out]
    weight = "" if override.weight is None else f"weight {override.weight:g}"
    what = " and ".join(filter(None, (words, weight)))
    return f"{what} by hand since {since_text(override.since)}, by uid {override.uid}"


def _key(name: str) -> tuple[str, str]:
    pool, _, origin = name.partition("/")
    return pool, origin


def _by_pool(overrides: Mapping[str, Override]) -> dict[tuple[str, str], Override]:
    return {_key(name): override for name, override in overrides.items()}
