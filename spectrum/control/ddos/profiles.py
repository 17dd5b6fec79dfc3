"""The profiles of apps on the control socket, read from the detector's files."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from spectrum.control.configuration.actor import Actor
from spectrum.control.http.resource import Resource, ResourceRequest
from spectrum.core.ddos.maxima import DAY_S, Maxima, preview
from spectrum.core.ddos.profile_header import MOST_BYTES, ProfileFileError, ProfileHeader, read_header
from spectrum.tasks import in_thread


class ProfilesActor(Actor):
    """Shows profiles.

    Args:
        folder: Returns the folder of the files; None without detection.
        now: Returns seconds since 1970.
    """

    def __init__(self, folder: Callable[[], Path | None], now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now = now

    def resources(self) -> Iterable[Resource]:
        """GET /ddos/profiles and /ddos/preview."""
        return (Resource("GET", "/ddos/profiles", self._profiles), Resource("GET", "/ddos/preview", self._preview))

    async def _profiles(self, asked: ResourceRequest) -> dict[str, Any]:
        headers, faults = await self._read(asked)
        now = self._now()
        has_maxima = "app" in asked.query
        return {"profiles": [profile_shown(one, now, has_maxima) for one in headers], "faults": faults}

    async def _preview(self, asked: ResourceRequest) -> dict[str, Any]:
        headers, faults = await self._read(asked)
        day = int(self._now() // DAY_S)
        return {"beyond": [line for one in headers for line in preview_shown(one, day)], "faults": faults}

    async def _read(self, asked: ResourceRequest) -> tuple[list[ProfileHeader], list[str]]:
        folder = self._folder()
        if folder is None:
            raise ValueError("attacks are not detected: the file has no ddos")
        headers, faults = await in_thread(_headers, folder)
        app = asked.query.get("app")
        if app is not None:
            headers = [one for one in headers if one.app == app]
            if not headers:
                raise ValueError(f"no profile of an app {app!r} was saved yet; the first is after a minute")
        return headers, faults


def _headers(folder: Path) -> tuple[list[ProfileHeader], list[str]]:
    """Return the headers of all files, by app, and which files cannot be read."""
    headers, faults = [], []
    for path in sorted(folder.glob("*.profile")):
        try:
            # The folder belongs to another user, so its files are not trusted.
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                header, _ = read_header(file.read(MOST_BYTES + 1))
        except ProfileFileError as exc:
            faults.append(f"{path}: {exc}")
        except OSError as exc:
            faults.append(f"{path}: cannot be read: {exc.strerror or exc}")
        else:
            headers += [header] if header.app else []
    return sorted(headers, key=lambda one: one.app), faults


def profile_shown(header: ProfileHeader, now: float, has_maxima: bool) -> dict[str, Any]:
    """Return the content of a profile, and its confidence.

    Args:
        header: The header of its file.
        now: Seconds since 1970.
        has_maxima: Whether the adaptive profile is included.
    """
    rows = {one.name: one.rows for one in header.reservoirs}
    shown = {
        "app": header.app,
        "rows": rows.get("day", 0) + rows.get("week", 0),
        "rows_in_use": rows.get("used", 0),
        "learned_s": round(header.learned_s, 1),
        "day_share": header.day_share,
        "oldest_s": None if header.oldest is None else round(now - header.oldest, 1),
        "newest_s": None if header.newest is None else round(now - header.newest, 1),
        # The maximum share of an app's openings that a rule hits if it hits none of the rows (95 % confidence).
        "unseen": header.unseen,
        "rules": "act" if header.is_settled else "log",
        "openings_per_second": round(header.rates[0] + header.rates[1], 2),
        "packets_per_second": round(sum(header.rates), 2),
        "known_share": header.known_share,
        "saved_s": round(now - header.saved, 1),
    }
    if has_maxima:
        shown["maxima"] = [_maxima_shown(one, int(now // DAY_S)) for one in header.maxima]
    return shown


def _maxima_shown(maxima: Maxima, today: int) -> dict[str, Any]:
    limit = maxima.limit(today)
    return {
        "dimension": maxima.dimension,
        "value": maxima.value,
        "days": [{"day": _date(one.day), "packets_per_second": one.packets_per_second} for one in maxima.days],
        "limit": None if limit is None else limit.packets_per_second,
        "percentile_95": None if limit is None else limit.percentile,
        "median": None if limit is None else limit.median,
        "is_doubtful": limit is not None and limit.is_doubtful,
        "openings_share": maxima.share,
        "deviations": [
            {
                "began": one.began,
                "ended": one.ended,
                "packets_per_second": one.packets_per_second,
                "limit": one.limit,
                "packets_beyond": one.beyond,
            }
            for one in maxima.deviations
        ],
    }


def preview_shown(header: ProfileHeader, today: int) -> Iterator[dict[str, Any]]:
    """Yield the packets of the last week beyond the current limits, which would have been dropped.

    Args:
        header: The header of a profile.
        today: The day since 1970.
    """
    for one in preview(header.maxima, today):
        begin, end = one.day * DAY_S, (one.day + 1) * DAY_S
        yield {
            "app": header.app,
            "day": _date(one.day),
            "dimension": one.maxima.dimension,
            "value": one.maxima.value,
            "packets_per_second": one.packets_per_second,
            "limit": one.limit.packets_per_second,
            # The number beyond the limit, if it was counted at the time.
            "packets_beyond": sum(each.beyond for each in one.maxima.deviations if begin <= each.began < end),
            "openings_share": one.maxima.share,
        }


def _date(day: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY_S))
