"""Apps that are paused: new sessions and flows are refused, those that are open go on, and listeners stay."""

from collections.abc import Mapping

import msgspec

from spectrum.core.limits.rules import Rule
from spectrum.core.records.reasons import Reason
from spectrum.core.snapshot import AppSettings, Snapshot


class Pause(msgspec.Struct, frozen=True):
    """Of one app.

    Attributes:
        since: When it was paused, in seconds since 1970.
        uid: The user who did it; -1 for nobody known.
    """

    since: float
    uid: int


def pause_rules(is_paused: bool, group: int) -> tuple[Rule, ...]:
    """Return the rule that lets nobody in, of an app with this group of the census; it has no room for one session."""
    return (Rule(group, "all", False, 0, Reason.APP_PAUSED),) if is_paused else ()


class PausedApps:
    """Marks paused apps in snapshots. Of an app that stays as it is there is one object, paused or not."""

    def __init__(self) -> None:
        # By name: the settings as they were compiled, and as they are with the pause.
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
