"""`spectrum token`: tokens of the control API."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from spectrum.cli.api import API_SOCKET, request
from spectrum.cli.objects import print_object
from spectrum.cli.options import AS_JSON, failure
from spectrum.core.durations import parse_duration_s
from spectrum.store.objects import file_id
from spectrum.store.tokens import digest, new_token

_ACCOUNT, _ZONE = "com.cloudflare.api.account.", "com.cloudflare.api.account.zone."
# The API's maximum page size.
PAGE = 50


@click.group(short_help="Make, show, change and revoke tokens of the API.")
def token() -> None:
    """Make, show, change and revoke tokens of the control API.

    Root and the daemon's user ask over the API's socket on this machine, and need no token themselves.
    """


def _expiry(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Return the time after a duration from now, or a time unchanged."""
    if value is None:
        return None
    try:
        at = datetime.fromtimestamp(time.time() + parse_duration_s(value), UTC)
    except ValueError:
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            raise click.BadParameter(f"{value!r}: write 90d, 2027-01-31 or 2027-01-31T12:00:00Z") from None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@token.command(short_help="Create a token, and print it once.")
@API_SOCKET
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    metavar="RESOURCE:read|edit",
    help="A permission, such as apps:edit; may be repeated. The default is all:edit.",
)
@click.option(
    "--account", "accounts", multiple=True, help="An account that it is limited to; the default is everything."
)
@click.option("--zone", "zones", multiple=True, help="A zone that it is limited to.")
@click.option("--expires", callback=_expiry, metavar="TIME", help="Expiry: 90d from now, or 2027-01-31T12:00:00Z.")
@click.option("--address", "addresses", multiple=True, metavar="PREFIX", help="Addresses from which it may be used.")
@click.option(
    "--hash", "only_hash", is_flag=True, help="Print its lines for `tokens:` of the file, without using the API."
)
@AS_JSON
def create(
    api_path: Path | None,
    name: str,
    permissions: tuple[str, ...],
    accounts: tuple[str, ...],
    zones: tuple[str, ...],
    expires: str | None,
    addresses: tuple[str, ...],
    only_hash: bool,
    as_json: bool,
) -> None:
    """Create a token of the control API, and print it. It is shown once: only its hash is kept."""
    permissions = permissions or ("all:edit",)
    _check_permissions(permissions)
    if only_hash:
        _print_for_file(name, permissions, accounts, zones, expires, addresses)
        return
    policy = {
        "effect": "allow",
        "permission_groups": _groups(permissions),
        "resources": _resources(api_path, accounts, zones) or {f"{_ACCOUNT}*": "*"},
    }
    body: dict[str, Any] = {"name": name, "policies": [policy]}
    if expires is not None:
        body["expires_on"] = expires
    if addresses:
        body["condition"] = {"request_ip": {"in": list(addresses)}}
    made = request(api_path, "POST", "/user/tokens", body)
    if as_json:
        click.echo(json.dumps(made, indent=2))
        return
    click.echo(made["value"])
    click.echo(f"token {name}, id {made['id']}; it is not shown again", err=True)


def _groups(permissions: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"id": file_id("permissions", word)} for word in permissions]


def _resources(api_path: Path | None, accounts: tuple[str, ...], zones: tuple[str, ...]) -> dict[str, str]:
    """Return the resources of a policy; empty if neither accounts nor zones are named."""
    of_accounts = {f"{_ACCOUNT}{_id_of(api_path, 'accounts', one)}": "*" for one in accounts}
    return of_accounts | {f"{_ZONE}{_id_of(api_path, 'zones', one)}": "*" for one in zones}


@token.command("list", short_help="Show tokens.")
@API_SOCKET
@AS_JSON
def list_tokens(api_path: Path | None, as_json: bool) -> None:
    """Show the tokens of the API: their names, expiry, last use, permissions."""
    tokens = _all_tokens(api_path)
    if as_json:
        click.echo(json.dumps(tokens, indent=2))
        return
    for one in tokens:
        names = sorted({group["name"] for policy in one["policies"] for group in policy["permission_groups"]})
        until = f", until {one['expires_on']}" if one.get("expires_on") else ""
        click.echo(f"{one['id']}  {one['name']}  {one['status']}{until}, {_use(one)}  {', '.join(names)}")


def _use(one: dict[str, Any]) -> str:
    if not one.get("last_used_on"):
        return "not used yet"
    return f"last used {datetime.fromisoformat(one['last_used_on']):%Y-%m-%dT%H:%M:%SZ}"


def complete_tokens(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of tokens with a prefix; none if no API answers."""
    try:
        names = [str(one["name"]) for one in _all_tokens(ctx.params.get("api_path"))]
    except click.ClickException:
        return []
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


@token.command(short_help="Show one token.")
@API_SOCKET
@AS_JSON
@click.argument("name_or_id", shell_complete=complete_tokens)
def show(api_path: Path | None, name_or_id: str, as_json: bool) -> None:
    """Show a token, by its name or id: permissions, resources, addresses, expiry. Its secret is not stored."""
    print_object(_one(api_path, name_or_id), as_json)


@token.command("set", short_help="Change a token.")
@API_SOCKET
@click.argument("name_or_id", shell_complete=complete_tokens)
@click.option("--name", "new_name", help="Another name.")
@click.option(
    "--permission", "permissions", multiple=True, metavar="RESOURCE:read|edit", help="Replaces its permissions."
)
@click.option("--account", "accounts", multiple=True, help="Replaces its accounts and zones.")
@click.option("--zone", "zones", multiple=True, help="Replaces its accounts and zones.")
@click.option("--expires", callback=_expiry, metavar="TIME", help="After 90d, or at 2027-01-31T12:00:00Z.")
@click.option("--address", "addresses", multiple=True, metavar="PREFIX", help="Replaces the allowed addresses.")
@click.option("--status", type=click.Choice(["active", "disabled"]), help="A disabled token is refused.")
@AS_JSON
def set_token(
    api_path: Path | None,
    name_or_id: str,
    new_name: str | None,
    permissions: tuple[str, ...],
    accounts: tuple[str, ...],
    zones: tuple[str, ...],
    expires: str | None,
    addresses: tuple[str, ...],
    status: str | None,
    as_json: bool,
) -> None:
    """Change a token, by its name or id. Options that are not given change nothing; its secret stays the same."""
    if permissions:
        _check_permissions(permissions)
    before = _one(api_path, name_or_id)
    kept = ("name", "policies", "condition", "not_before", "expires_on")
    body: dict[str, Any] = {key: before[key] for key in kept if key in before}
    if (status or before["status"]) == "disabled":
        body["status"] = "disabled"
    if new_name is not None:
        body["name"] = new_name
    resources = _resources(api_path, accounts, zones)
    if permissions or resources:
        if len(before["policies"]) > 1:
            raise failure(f"token {before['name']} has several policies, which the API changes (docs/api.md)")
        (policy,) = before["policies"]
        policy |= {"permission_groups": _groups(permissions)} if permissions else {}
        policy |= {"resources": resources} if resources else {}
    if expires is not None:
        body["expires_on"] = expires
    if addresses:
        request_ip = body.get("condition", {}).get("request_ip", {})
        body["condition"] = {"request_ip": request_ip | {"in": list(addresses)}}
    changed = request(api_path, "PUT", f"/user/tokens/{before['id']}", body)
    click.echo(json.dumps(changed, indent=2) if as_json else f"changed token {changed['name']}, id {changed['id']}")


@token.command(short_help="Revoke a token.")
@API_SOCKET
@click.argument("name_or_id", shell_complete=complete_tokens)
def revoke(api_path: Path | None, name_or_id: str) -> None:
    """Delete a token, by its name or id. Its clients get an error from now on."""
    found = _one(api_path, name_or_id)
    request(api_path, "DELETE", f"/user/tokens/{found['id']}")
    click.echo(f"revoked token {found['name']}, id {found['id']}")


# As for all other objects.
token.add_command(revoke, "delete")


def _one(api_path: Path | None, name_or_id: str) -> dict[str, Any]:
    """Return a token by its name or id; that there is none, or are several, is a failure."""
    found = [one for one in _all_tokens(api_path) if name_or_id in (one["id"], one["name"])]
    if not found:
        raise failure(f"there is no token {name_or_id}; spectrum token list shows all")
    if len(found) > 1:
        raise failure(
            f"{len(found)} tokens are called {name_or_id}: {', '.join(one['id'] for one in found)}; name an id"
        )
    return found[0]


def _all_tokens(api_path: Path | None) -> list[dict[str, Any]]:
    tokens: list[dict[str, Any]] = []
    page = 1
    while found := request(api_path, "GET", "/user/tokens", per_page=str(PAGE), page=str(page)):
        tokens += found
        page += 1
    return tokens


def _id_of(api_path: Path | None, section: str, name: str) -> str:
    found = request(api_path, "GET", f"/{section}", name=name)
    if len(found) != 1:
        raise failure(f"there is no {section.removesuffix('s')} {name}")
    return str(found[0]["id"])


def _check_permissions(permissions: tuple[str, ...]) -> None:
    from spectrum.core.configuration.faults import nearest  # It loads pydantic.
    from spectrum.core.tenants.tokens import PERMISSIONS

    for word in permissions:
        if word not in PERMISSIONS:
            raise failure(f"there is no permission {word}{nearest(word, list(PERMISSIONS))}")


def _print_for_file(
    name: str,
    permissions: tuple[str, ...],
    accounts: tuple[str, ...],
    zones: tuple[str, ...],
    expires: str | None,
    addresses: tuple[str, ...],
) -> None:
    from spectrum.control.configuration.yaml_text import yaml_text

    text = new_token()
    policy: dict[str, Any] = {"permissions": list(permissions)}
    policy |= {key: list(given) for key, given in (("accounts", accounts), ("zones", zones)) if given}
    value: dict[str, Any] = {"hash": digest(text), "policies": [policy]}
    if expires is not None:
        value["expires_on"] = expires
    if addresses:
        value["addresses"] = list(addresses)
    click.echo(yaml_text({"tokens": {name: value}}), nl=False)
    click.echo(f"the token is {text}; it is not shown again", err=True)
