"""`lists`: addresses and prefixes, or autonomous systems, that access rules name; Cloudflare's IP lists."""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from spectrum.core.configuration.fields import KeyFault, Shown, Strict, asn, describe, network

ListKind = Literal["ip", "asn"]
# Cloudflare's limit for a description and for a comment.
MAX_TEXT = 500
# Keys of an item beside its value.
ITEM_KEYS = frozenset({"comment", "created_on", "modified_on"})


class AddressList(Strict):
    """One of `lists`. An item is a value, or a mapping of that and a comment: {ip: ..., comment: ...}."""

    kind: ListKind = Field(
        description="addresses and prefixes, for rules with `target: ip` or `ip_range`; or autonomous "
        "systems, for `target: asn`",
    )
    description: str = Field(
        "",
        max_length=MAX_TEXT,
        description="a note",
    )
    items: Annotated[tuple[Any, ...], Shown("list")] = Field(
        (),
        description="addresses, prefixes or systems, or `{ip:, comment:}`, `{asn:, comment:}`. Duplicates are a fault",
    )
    name: str | None = Field(
        None,
        description="the name of the list in the API, if it is not its key",
    )
    account: Annotated[str | None, Shown("name", default="see there")] = Field(
        None,
        description="the owner, one of `accounts`: see [Accounts and zones](configuration.md#accounts-and-zones)",
    )

    @field_validator("items", mode="before")
    @classmethod
    def _is_list(cls, value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, found {describe(value)}")
        return tuple(value)

    @model_validator(mode="after")
    def _holds_its_kind(self) -> "AddressList":
        held: set[object] = set()
        for index, item in enumerate(self.items):
            try:
                value = item_value(self.kind, item)
            except ValueError as exc:
                raise KeyFault(str(exc), "items", index) from exc
            if value in held:
                raise KeyFault(f"{value} is listed twice", "items", index)
            held.add(value)
        return self

    def networks(self) -> Iterable[IPv4Network | IPv6Network]:
        """Return the prefixes of a list of kind ip."""
        return (network(_held(self.kind, item)) for item in self.items)

    def numbers(self) -> Iterable[int]:
        """Return the autonomous systems of a list of kind asn."""
        return (asn(_held(self.kind, item)) for item in self.items)


def item_value(kind: str, item: Any) -> IPv4Network | IPv6Network | int:
    """Return the value of an item of a list: a prefix, or the number of an autonomous system.

    Raises:
        ValueError: If it is not an item of this kind of list.
    """
    if isinstance(item, Mapping):
        if unknown := item.keys() - ITEM_KEYS - {kind}:
            raise ValueError(f"unknown key {describe(min(unknown))} in an item of a list of kind {kind}")
        if kind not in item:
            raise ValueError(f'an item of this list needs "{kind}"')
        if any(not isinstance(item.get(key, ""), str) or len(item.get(key, "")) > MAX_TEXT for key in ITEM_KEYS):
            raise ValueError(f"comment and times of {describe(item[kind])} are texts of at most {MAX_TEXT} characters")
    held = _held(kind, item)
    return network(held) if kind == "ip" else asn(held)


def _held(kind: str, item: Any) -> Any:
    return item[kind] if isinstance(item, Mapping) else item
