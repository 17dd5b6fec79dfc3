"""Paused apps: new sessions and flows are refused, open ones continue, and listeners stay."""

from collections.abc import Mapping

import msgspec

from spectrum.core.limits.rules import Rule
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import AppSettings, Snapshot


class Pause(msgspec.Struct, frozen=True):
    """The pause of one app.

    Attributes:
        since: When it was paused, in seconds since 1970.
        uid: The user who did it; -1 if unknown.
    """

    since: float
    uid: int


def pause_rules(is_paused: bool, group: int) -> tuple[Rule, ...]:
    """Return the rule that refuses all clients of an app with this group of the census: a limit of 0 sessions."""
    return (Rule(group, "all", False, 0, Reason.APP_PAUSED),) if is_paused else ()


class PausedApps:
    """Marks paused apps in snapshots. An unchanged app stays the same object, paused or not."""

    def __init__(self) -> None:
        # By name: the settings as compiled, and those with the pause.
        self._known: dict[str, tuple[AppSettings, AppSettings]] = {}

    def mark(self, snapshot: Snapshot, pauses: Mapping[str, Pause]) -> Snapshot:
        """Return a snapshot in which these apps are paused, and no others."""
        if not pauses and not self._known:
            return snapshot
        known, self._known = self._known, {}
        apps = tuple(self._marked(app, known, app.name in pauses) for app in snapshot.apps)
        return msgspec.structs.replace(snapshot, apps=apps)

    def _marked(
        self, app: AppSettings, known: Mapping[str, tuple[AppSettings, AppSettings]], is_paused: bool
    ) -> AppSettings:
        plain, paused = known.get(app.name, (app, None))
        if app.paused and paused is not None:
            app = plain
        if not is_paused:
            return app
        if app is not plain or paused is None:
            paused = msgspec.structs.replace(app, paused=True)
        self._known[app.name] = app, paused
        return paused
