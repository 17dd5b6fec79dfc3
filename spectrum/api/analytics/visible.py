"""The rows of the store that a caller may see: of the apps, pools and load balancers of an account or a zone."""

from collections.abc import Iterable, Mapping
from typing import Any

from spectrum.api.access import Call
from spectrum.core.analytics.columns import Table
from spectrum.core.analytics.dimensions import ColumnFilter
from spectrum.core.analytics.filters import FilterField
from spectrum.core.analytics.question import Operator, Value, Visible
from spectrum.store.objects import StoredObject, file_id

_RESOURCE = "analytics"
_BY_SECTION = {"apps": "app", "pools": "pool", "load_balancers": "load_balancer"}
# No app has this name.
_NOBODY = "\0"


def visible_to(call: Call) -> Visible | None:
    """Return the limits of a caller; None for all rows, also of deleted apps.

    In a zone, its apps are visible. In an account, its apps in zones that the caller may read, its pools and its load
    balancers. A caller who may read all accounts sees all rows if there is one account.
    """
    catalogue, caller = call.catalogue, call.caller
    if call.zone is not None:
        return Visible({"app": _since(call.objects("apps"))})
    assert call.account is not None, "the path names one"
    account = call.account.name
    zones = {zone.name for zone in catalogue.all("zones") if caller.may(_RESOURCE, False, account, zone.name)}
    if (
        len(catalogue.all("accounts")) == 1
        and len(zones) == len(catalogue.all("zones"))
        and caller.may(_RESOURCE, False)
    ):
        return None
    return Visible(
        {
            column: _since(
                one
                for one in call.objects(section)
                if not catalogue.owners(one)[1] or catalogue.owners(one)[1] in zones
            )
            for section, column in _BY_SECTION.items()
        }
    )


def _since(objects: Iterable[StoredObject]) -> Mapping[str, float]:
    """Return since when each object has its name; 0 for those in the file."""
    return {one.name: 0.0 if one.is_in_file else one.created_on for one in objects}


class AppNames:
    """Names of apps in the store, and their ids in the API.

    Args:
        call: The request; only its apps have ids.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def name_of(self, app_id: str) -> str:
        """Return the name of an app; for an app that the caller may not see, a name that no app has."""
        found = self._call.object("apps", app_id)
        return found.name if found else _NOBODY

    def id_of(self, name: str) -> str:
        """Return the id of an app, also of a deleted one."""
        found = self._call.catalogue.named("apps", name)
        return found.id if found else file_id("apps", name)


class _AppFilter:
    """The filter by an app's id, which compares its name."""

    def __init__(self, column: ColumnFilter, names: AppNames) -> None:
        self.name = column.name
        self._names = names

    def read(self, given: Any, operator: Operator) -> tuple[Operator, Value]:
        if not isinstance(given, str) or operator not in ("=", "!="):
            raise ValueError("appID is an id, and compared by == and !=")
        return operator, self._names.name_of(given)

    def write(self, value: Value) -> str:
        return self._names.id_of(str(value))


def field_of(table: Table, name: str, names: AppNames) -> FilterField:
    """Return the field of a filter; `appID` has ids, `app` names.

    Raises:
        ValueError: If there is no such field, or it cannot be compared.
    """
    column = ColumnFilter.named(table, name)
    return _AppFilter(column, names) if name == "appID" else column
