"""The objects of file and store in memory: by id, by name, by account and zone, and by reference."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from spectrum.api.references import references
from spectrum.core.tenants.scope import DEFAULT_ACCOUNT, Scope
from spectrum.store.objects import ObjectChange, StoredObject, file_id

# The names of an object's account and zone; "" for an object without a zone.
Owners = tuple[str, str]


class Holdings:
    """The objects.

    Objects of the file come before those of the store, each in its order.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._by_id: dict[str, dict[str, StoredObject]] = {}
        self._by_name: dict[str, dict[str, StoredObject]] = {}
        self._by_owner: dict[tuple[str, str, str], dict[str, StoredObject]] = {}
        self._owners: dict[tuple[str, str], Owners] = {}
        self._referrers: dict[tuple[str, str], dict[tuple[str, str], StoredObject]] = {}
        self._scope = Scope((), {})

    def fill(
        self, file: Mapping[str, Mapping[str, Any]], stored: Iterable[StoredObject], modified_on: float = 0.0
    ) -> None:
        """Replace all objects.

        Args:
            file: The file's values by section and name.
            stored: The store's objects; those with a name of the file are left out, as the daemon does.
            modified_on: When the file was changed, in seconds since 1970.
        """
        self._clear()
        found = [
            StoredObject(section, file_id(section, name), name, value or {}, modified_on, modified_on, 0, True)
            for section, objects in file.items()
            for name, value in objects.items()
        ]
        names = {(one.section, one.name) for one in found}
        found += [one for one in stored if (one.section, one.name) not in names]
        if not any(one.section == "accounts" for one in found):
            found.append(
                StoredObject(
                    "accounts", file_id("accounts", DEFAULT_ACCOUNT), DEFAULT_ACCOUNT, {}, modified_on, modified_on
                )
            )
        for one in found:
            self._by_id.setdefault(one.section, {})[one.id] = one
            self._by_name.setdefault(one.section, {})[one.name] = one
        self._index_all()

    def all(self, section: str) -> list[StoredObject]:
        """Return all objects of a section."""
        return list(self._by_id.get(section, {}).values())

    def get(self, section: str, object_id: str) -> StoredObject | None:
        """Return the object with an id; None if there is none."""
        return self._by_id.get(section, {}).get(object_id)

    def named(self, section: str, name: str) -> StoredObject | None:
        """Return the object with a name; None if there is none."""
        return self._by_name.get(section, {}).get(name)

    def names(self, section: str) -> Mapping[str, StoredObject]:
        """Return the objects of a section by name."""
        return self._by_name.get(section, {})

    def in_account(self, section: str, account: str) -> list[StoredObject]:
        """Return the objects of a section that belong to an account or to its zones; by the account's name."""
        return list(self._by_owner.get((section, "account", account), {}).values())

    def in_zone(self, section: str, zone: str) -> list[StoredObject]:
        """Return the objects of a section that belong to a zone; by the zone's name."""
        return list(self._by_owner.get((section, "zone", zone), {}).values())

    def implied_account(self) -> StoredObject | None:
        """Return the account that exists although no object defines it; None where accounts are defined."""
        accounts = self._by_id.get("accounts", {})
        return next((one for one in accounts.values() if not one.is_in_file and one.revision == 0), None)

    @property
    def default_account(self) -> str:
        """The name of the account of objects that name none: the machine's."""
        return self._scope.default_account

    def owner_keys(self, account: StoredObject, zone: StoredObject | None = None) -> dict[str, str]:
        """Return the keys of an object that name its account and zone."""
        if zone is not None:
            return {"zone": zone.name}
        return {} if account == self.implied_account() else {"account": account.name}

    def owners(self, one: StoredObject) -> Owners:
        """Return the names of an object's account and zone; "" without a zone."""
        known = self._owners.get((one.section, one.id))
        return known or _owners(self._scope, one.section, one.name, one.value)

    def owners_after(self, changes: Sequence[ObjectChange], befores: Sequence[StoredObject | None]) -> list[Owners]:
        """Return the owners of objects after changes, or of deleted ones; all changes count together."""
        scope = self._scope
        if any(change.section in ("accounts", "zones") for change in changes):
            scope = self._scope_after(changes)
        return [
            _owners(scope, change.section, change.name, change.value)
            if change.value is not None
            else self.owners(before)
            if before
            else ("", "")
            for change, before in zip(changes, befores, strict=True)
        ]

    def referrers(self, section: str, name: str) -> list[StoredObject]:
        """Return the objects that name an object."""
        return list(self._referrers.get((section, name), {}).values())

    def apply(self, changes: Sequence[ObjectChange], kept: Mapping[str, StoredObject]) -> None:
        """Apply changes to memory.

        Args:
            changes: The changes.
            kept: The saved objects, by id.
        """
        for change in changes:
            before = self.get(change.section, change.id)
            if before is not None:
                self._unlink(before)
                del self._by_name[before.section][before.name]
            if change.value is None:
                self._by_id.get(change.section, {}).pop(change.id, None)
            else:
                after = kept[change.id]
                self._by_id.setdefault(after.section, {})[after.id] = after
                self._by_name.setdefault(after.section, {})[after.name] = after
                self._link(after)
        if any(change.section in ("accounts", "zones") for change in changes):
            self._index_all()  # objects that name no zone may belong to another one now

    def _index_all(self) -> None:
        self._by_owner, self._owners, self._referrers = {}, {}, {}
        self._scope = self._scope_after(())
        for objects in self._by_id.values():
            for one in objects.values():
                self._link(one)

    def _link(self, one: StoredObject) -> None:
        account, zone = self._owners[one.section, one.id] = _owners(self._scope, one.section, one.name, one.value)
        for key in self._places(one.section, account, zone):
            self._by_owner.setdefault(key, {})[one.id] = one
        for to in references(one.section, one.value):
            self._referrers.setdefault(to, {})[one.section, one.id] = one

    def _unlink(self, one: StoredObject) -> None:
        for key in self._places(one.section, *self._owners.pop((one.section, one.id))):
            self._by_owner[key].pop(one.id, None)
        for to in references(one.section, one.value):
            self._referrers.get(to, {}).pop((one.section, one.id), None)

    @staticmethod
    def _places(section: str, account: str, zone: str) -> Iterator[tuple[str, str, str]]:
        yield section, "account", account
        if zone:
            yield section, "zone", zone

    def _scope_after(self, changes: Sequence[ObjectChange]) -> Scope:
        accounts, zones = (
            {name: one.value for name, one in self._by_name.get(section, {}).items()}
            for section in ("accounts", "zones")
        )
        for change in changes:
            if change.value is not None and change.section in ("accounts", "zones"):
                (accounts if change.section == "accounts" else zones)[change.name] = change.value
        return Scope.of_values(accounts, zones)


def _owners(scope: Scope, section: str, name: str, value: Mapping[str, Any]) -> Owners:
    zone, account = value.get("zone"), value.get("account")
    match section:
        case "accounts":
            return name, ""
        case "zones":
            return scope.account_of(None, account), name
        case "apps":
            dns = value.get("dns")
            zone = scope.zone_of_app(zone, dns.get("name") if isinstance(dns, dict) else None)
    return scope.account_of(zone, account), zone or ""
