"""`spectrum app|certificate|pool|... list|show|set|delete`: objects of the API, over its UNIX socket, which needs no
token. Commands use names instead of the API's ids.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from spectrum.cli.api import API_SOCKET, request
from spectrum.cli.options import AS_JSON, failure

# The API's maximum page size for apps.
PER_PAGE = 100
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of object.

    Attributes:
        word: The word in the command.
        path: The path of its collection, with `{account}` or `{zone}`.
        name_of: Returns the name of an object.
        begin: Returns the body that follows from the name.
        columns: The columns of lists beside the name.
        is_paged: Whether its list has pages.
        also: The path of another collection, and what it is asked with. Its objects have the same commands, but `set`
            creates none there.
    """

    word: str
    path: str
    name_of: Callable[[Object], str]
    begin: Callable[[str], Object]
    columns: tuple[str, ...]
    is_paged: bool = False
    also: tuple[str, Mapping[str, str]] | None = None


def _rule_of(value: str) -> Object:
    """Return the body of a rule about an address, a prefix, a list, a country or an autonomous system."""
    if value[:2].upper() == "AS" and value[2:].isdecimal():
        target = "asn"
    elif len(value) == 2 and value.isalpha():
        target = "country"
    elif "/" in value or value.startswith("$"):  # A list.
        target = "ip_range"
    else:
        target = "ip6" if ":" in value else "ip"
    return {"configuration": {"target": target, "value": value}}


def _with_certificate(pack: Object) -> Object:
    """Return an order with what a list shows of certificates, where it has one."""
    issued: Object = next(iter(pack["certificates"]), {})
    return {**pack, **{key: issued[key] for key in ("issuer", "expires_on") if key in issued}}


def _host_of(one: Object) -> str:
    """Return the first name of a certificate."""
    return str(next(iter(one["hosts"]), one["id"]))


_ORDERED = "/zones/{zone}/ssl/certificate_packs"
CERTIFICATE = Noun(
    "certificate",
    "/zones/{zone}/custom_certificates",
    _host_of,
    lambda name: {},
    ("hosts", "issuer", "status", "expires_on", "validation_errors.message"),
    is_paged=True,
    also=(_ORDERED, {"status": "all"}),
)
# Fields that may be given as `@FILE`, with its text.
_FILES = ("certificate", "private_key")
APP = Noun(
    "app",
    "/zones/{zone}/spectrum/apps",
    lambda one: str(one["dns"]["name"]),
    lambda name: {"dns": {"name": name}},
    ("protocol", "origin_direct", "origin_dns.name", "load_balancer"),
    is_paged=True,
)
MONITOR = Noun(
    "monitor",
    "/accounts/{account}/load_balancers/monitors",
    lambda one: str(one.get("description") or one["id"]),
    lambda name: {"description": name},
    ("type", "port", "interval", "path"),
)
GROUP = Noun(
    "group",
    "/accounts/{account}/load_balancers/monitor_groups",
    lambda one: str(one.get("description") or one["id"]),
    lambda name: {"description": name},
    ("members.monitor_id",),
)
POOL = Noun(
    "pool",
    "/accounts/{account}/load_balancers/pools",
    lambda one: str(one["name"]),
    lambda name: {"name": name},
    ("enabled", "origins.address", "minimum_origins"),
)
BALANCER = Noun(
    "balancer",
    "/zones/{zone}/load_balancers",
    lambda one: str(one["name"]),
    lambda name: {"name": name},
    ("enabled", "steering_policy", "session_affinity"),
)
RULE = Noun(
    "rule",
    "/accounts/{account}/firewall/access_rules/rules",
    lambda one: str(one["configuration"]["value"]),
    _rule_of,
    ("mode", "configuration.target", "notes"),
    is_paged=True,
)
LIST = Noun(
    "list",
    "/accounts/{account}/rules/lists",
    lambda one: str(one["name"]),
    lambda name: {"name": name},
    ("kind", "num_items", "description"),
)
# Fields with the id of another object: the command line has its name.
_REFERENCES = {
    "monitor": MONITOR,
    "monitor_group": GROUP,
    "members.monitor_id": MONITOR,
    "fallback_pool": POOL,
    "default_pools": POOL,
    "load_balancer": BALANCER,
}


class NamedApi:
    """The API of the running daemon.

    Args:
        api_path: The path of the API's socket; None for the default.
        account: Name or id of the account; None for the first one.
        zone: Likewise for the zone.
    """

    def __init__(self, api_path: Path | None, account: str | None, zone: str | None) -> None:
        self._path = api_path
        self._account, self._zone = account, zone

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Return the result of a call; an error becomes a failure with a line for each reason."""
        return request(self._path, method, path, body, **query)

    def path_of(self, noun: Noun) -> str:
        """Return the path of a collection."""
        return self.filled(noun.path)

    def filled(self, path: str) -> str:
        """Return a path with the id of the account or the zone."""
        if "{zone}" in path:
            return path.format(zone=self._place("zone", self._zone))
        return path.format(account=self._place("account", self._account))

    def _place(self, what: str, wanted: str | None) -> str:
        found = self.ask("GET", f"/{what}s", **({"name": wanted} if wanted else {}))
        places = [one for one in found if wanted in (None, one["name"], one["id"])]
        if not places:
            raise failure(f"there is no {what} {wanted}" if wanted else f"there is no {what}: the file has no {what}s:")
        return str(places[0]["id"])

    def all(self, noun: Noun) -> Iterator[Object]:
        """Yield the objects of a kind that `set` can create."""
        return self._collection(self.path_of(noun), noun.is_paged, {})

    def placed(self, noun: Noun) -> Iterator[tuple[str, Object]]:
        """Yield all objects of a kind, each with the path of its collection."""
        path = self.path_of(noun)
        yield from ((path, one) for one in self._collection(path, noun.is_paged, {}))
        if noun.also is not None:
            path = self.filled(noun.also[0])
            yield from ((path, _with_certificate(one)) for one in self._collection(path, True, noun.also[1]))

    def _collection(self, path: str, is_paged: bool, query: Mapping[str, str]) -> Iterator[Object]:
        if not is_paged:
            yield from self.ask("GET", path, **query)
            return
        for page in count(1):
            if not (found := self.ask("GET", path, page=str(page), per_page=str(PER_PAGE), **query)):
                return
            yield from found

    def to_set(self, noun: Noun, name: str, fields: Collection[str]) -> tuple[str, Object | None]:
        """Return the collection of the object that `set` changes, and itself, by its name or id. Without any it is the
        collection to create it in, and None.

        Args:
            noun: The kind.
            name: The name or id.
            fields: The fields to set: a certificate that is sent is never an ordered one.
        """
        path = self.path_of(noun)
        if found := self._only(noun, name, ((path, one) for one in self.all(noun))):
            return found
        if noun.also is not None and not set(fields).intersection(_FILES):
            other = self.filled(noun.also[0])
            if found := self._only(noun, name, ((at, one) for at, one in self.placed(noun) if at == other)):
                return found
        return path, None

    def known(self, noun: Noun, name: str) -> tuple[str, Object]:
        """Return the collection of an object, and itself, by its name or id; that there is none is a failure."""
        if (found := self._only(noun, name, self.placed(noun))) is None:
            raise failure(f"there is no {noun.word} {name}")
        return found

    def _only(self, noun: Noun, name: str, among: Iterator[tuple[str, Object]]) -> tuple[str, Object] | None:
        found = [(path, one) for path, one in among if name in (one["id"], noun.name_of(one))]
        if len(found) > 1:
            ids = ", ".join(one["id"] for _, one in found)
            raise failure(f"{len(found)} objects are called {name}; write an id: {ids}")
        return found[0] if found else None

    def _id(self, noun: Noun, name: str) -> str:
        return str(self.known(noun, name)[1]["id"])

    def value(self, field: str, text: str) -> Any:
        """Return the value of a text for a field: JSON, or the text; names of other objects become ids. `@FILE` is the
        content of a file, for certificates and keys.
        """
        if field in _FILES and text.startswith("@"):
            try:
                return Path(text[1:]).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as exc:
                raise failure(
                    f"{text[1:]}: {exc.strerror if isinstance(exc, OSError) else 'it is not a text'}"
                ) from exc
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if field == "members":
            return self._members(value)
        if field == "hosts" and isinstance(value, str):
            return value.split(",")
        if (noun := _REFERENCES.get(field)) is None or not value:
            return value
        if isinstance(value, str) and field == "default_pools":
            value = value.split(",")
        if isinstance(value, list):
            return [self._id(noun, str(name)) for name in value]
        return self._id(noun, str(value))

    def _members(self, value: Any) -> Any:
        """Return the members of a monitor group: monitors by name, or mappings with `monitor_id`."""
        members = value.split(",") if isinstance(value, str) else value
        if not isinstance(members, list):
            return members
        told = [one if isinstance(one, dict) else {"monitor_id": str(one)} for one in members]
        return [
            one | {"monitor_id": self._id(MONITOR, str(one["monitor_id"]))} if "monitor_id" in one else one
            for one in told
        ]

    def named(self, column: str) -> dict[str, str]:
        """Return the names of the objects whose ids a column has, by id; nothing for other columns."""
        noun = _REFERENCES.get(column) if column.endswith("_id") else None
        return {str(one["id"]): noun.name_of(one) for one in self.all(noun)} if noun is not None else {}


def names_of(noun: Noun) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return completions for names of a kind; none if no API answers."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        given = ctx.params
        api = NamedApi(given.get("api_path"), given.get("account"), given.get("zone"))
        try:
            names = [noun.name_of(one) for _, one in api.placed(noun)]
        except click.ClickException:
            return []
        return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]

    return complete


_ACCOUNT = click.option("--account", help="The account, by name; the first one otherwise.")
_ZONE = click.option("--zone", help="The zone, by name; the first one otherwise.")


def commands(noun: Noun, group: click.Group) -> click.Group:
    """Add the four commands of a kind to a group."""
    name = click.argument("name", shell_complete=names_of(noun))

    def command(what: str, help_text: str) -> Callable[[Callable[..., None]], None]:
        def add(function: Callable[..., None]) -> None:
            decorated = API_SOCKET(_ACCOUNT(_ZONE(function)))
            group.command(what, short_help=help_text, help=help_text)(decorated)

        return add

    @command("list", "List them.")
    @AS_JSON
    def list_all(api_path: Path | None, account: str | None, zone: str | None, as_json: bool) -> None:
        api = NamedApi(api_path, account, zone)
        found = [one for _, one in api.placed(noun)]
        if as_json:
            click.echo(json.dumps(found, indent=2))
            return
        names = {column: api.named(column) for column in noun.columns if found}
        for line in table(
            [[noun.name_of(one), *(shown(one, column, names[column]) for column in noun.columns)] for one in found]
        ):
            click.echo(line)

    @command("show", "Show one by name or id.")
    @AS_JSON
    @name
    def show(api_path: Path | None, account: str | None, zone: str | None, name: str, as_json: bool) -> None:
        _, found = NamedApi(api_path, account, zone).known(noun, name)
        print_object(found, as_json)

    @command("set", "Create one, or change its fields: FIELD=VALUE, the value as text or JSON; FIELD= for the default.")
    @AS_JSON
    @name
    @click.argument("fields", nargs=-1, metavar="[FIELD=VALUE]...")
    def set_one(
        api_path: Path | None,
        account: str | None,
        zone: str | None,
        name: str,
        fields: tuple[str, ...],
        as_json: bool,
    ) -> None:
        api = NamedApi(api_path, account, zone)
        body = Object()
        for field in fields:
            key, sign, text = field.partition("=")
            if not sign:
                raise click.UsageError(f"{field!r} is not FIELD=VALUE")
            put(body, key.split("."), None if text == "" else api.value(key, text))
        path, before = api.to_set(noun, name, body)
        if before is None:
            made = api.ask("POST", path, merged(noun.begin(name), body))
        elif noun is LIST:
            made = api.ask("PUT", f"{path}/{before['id']}", body)
        else:
            whole = {key: merged(before.get(key), item) for key, item in body.items()}
            made = api.ask("PATCH", f"{path}/{before['id']}", whole)
        print_object(made, as_json)

    @command("delete", "Delete one; objects in use are refused.")
    @name
    def delete(api_path: Path | None, account: str | None, zone: str | None, name: str) -> None:
        api = NamedApi(api_path, account, zone)
        path, found = api.known(noun, name)
        api.ask("DELETE", f"{path}/{found['id']}")
        click.echo(f"deleted {noun.word} {noun.name_of(found)}")

    return group


def put(body: Object, steps: list[str], value: Any) -> None:
    """Put a value into a body at a path."""
    for step in steps[:-1]:
        body = body.setdefault(step, {})
    body[steps[-1]] = value


def merged(before: Any, after: Any) -> Any:
    """Merge two values, if both are mappings."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    return {**before, **{key: merged(before.get(key), item) for key, item in after.items()}}


def shown(one: Any, column: str, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the text of a column: the value at a path, of each entry of a list, by its name if it has one."""
    for index, step in enumerate(steps := column.split(".")):
        if isinstance(one, list):
            return ", ".join(shown(entry, ".".join(steps[index:]), names) for entry in one)
        one = one.get(step) if isinstance(one, dict) else None
    if isinstance(one, list):
        return ", ".join(map(str, one))
    if isinstance(one, str):
        return names.get(one, one)
    return "" if one is None else json.dumps(one) if isinstance(one, bool | dict) else str(one)


def table(rows: list[list[str]]) -> Iterator[str]:
    """Yield lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def print_object(one: Object, as_json: bool) -> None:
    """Print an object: a line for each field, or JSON."""
    if as_json:
        click.echo(json.dumps(one, indent=2))
        return
    for line in table([[key, item if isinstance(item, str) else json.dumps(item)] for key, item in one.items()]):
        click.echo(line)


def _group(noun: Noun, about: str) -> click.Group:
    return commands(noun, click.Group(noun.word, help=f"{about} of the running daemon's API.", short_help=f"{about}."))


pool = _group(POOL, "Pools of origins")
monitor = _group(MONITOR, "Health checks of origins")
certificate = _group(CERTIFICATE, "Certificates with their keys, and orders of certificates")
group = _group(GROUP, "Monitor groups")
balancer = _group(BALANCER, "Load balancers")
rule = _group(RULE, "IP access rules")
lists = _group(LIST, "Lists of addresses")


@certificate.command("order", short_help="Order one by ACME.")
@API_SOCKET
@_ACCOUNT
@_ZONE
@AS_JSON
@click.option("--authority", default="lets_encrypt", show_default=True, help="One of the file's acme.authorities.")
@click.option(
    "--method",
    type=click.Choice(["http", "txt"]),
    default="http",
    show_default=True,
    help="How the CA sees that the names are yours: this edge answers it, or a record in their DNS zone.",
)
@click.option("--days", type=int, default=90, show_default=True, help="What the authority has as validity_days.")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
def order(
    api_path: Path | None,
    account: str | None,
    zone: str | None,
    as_json: bool,
    authority: str,
    method: str,
    days: int,
    hosts: tuple[str, ...],
) -> None:
    """Order a certificate for the hosts, of a zone, by ACME. `certificate list` shows how far it is."""
    api = NamedApi(api_path, account, zone)
    body = {
        "type": "advanced",
        "hosts": hosts,
        "certificate_authority": authority,
        "validation_method": method,
        "validity_days": days,
    }
    print_object(api.ask("POST", f"{api.filled(_ORDERED)}/order", body), as_json)
