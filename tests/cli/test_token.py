import json
import re
import time
from datetime import datetime

import click
import pytest

from spectrum.cli.token import complete_tokens, revoke
from spectrum.control.configuration.loader import load_text
from spectrum.store.objects import file_id
from spectrum.store.tokens import TEXT, digest
from tests.cli.api_server import result, serving
from tests.cli.harness import spectrum

MADE = result({"id": "1" * 32, "value": "sp_" + "x" * 43, "name": "deploy"})
TOKENS = "/client/v4/user/tokens"


def run(tmp_path, *arguments, answers=()):
    with serving(tmp_path / "s", dict(answers)) as asked:
        done = spectrum("token", arguments[0], "--api-socket", str(tmp_path / "s"), *arguments[1:])
    return done, asked


def test_the_first_token_may_everything(tmp_path):
    done, asked = run(tmp_path, "create", "deploy", answers={("POST", TOKENS): MADE})
    assert (done.exit_code, done.stdout) == (0, "sp_" + "x" * 43 + "\n")
    assert "it is not shown again" in done.stderr
    policy = {
        "effect": "allow",
        "permission_groups": [{"id": file_id("permissions", "all:edit")}],
        "resources": {"com.cloudflare.api.account.*": "*"},
    }
    assert asked == [("POST", TOKENS, {"name": "deploy", "policies": [policy]})]


def test_a_token_with_bounds(tmp_path):
    answers = {
        ("POST", TOKENS): MADE,
        ("GET", "/client/v4/accounts?name=acme"): result([{"id": "a"}]),
        ("GET", "/client/v4/zones?name=example.com"): result([{"id": "z"}]),
    }
    options = ["--permission", "apps:edit", "--permission", "pools:read", "--account", "acme", "--zone", "example.com"]
    done, asked = run(
        tmp_path, "create", "ci", *options, "--expires", "90d", "--address", "192.0.2.0/24", "--json", answers=answers
    )
    assert json.loads(done.stdout)["id"] == "1" * 32
    body = asked[-1][2]
    assert body["policies"][0]["resources"] == {
        "com.cloudflare.api.account.a": "*",
        "com.cloudflare.api.account.zone.z": "*",
    }
    assert body["condition"] == {"request_ip": {"in": ["192.0.2.0/24"]}}
    expiry = datetime.fromisoformat(body["expires_on"]).timestamp()
    assert abs(expiry - time.time() - 90 * 86400) < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--permission", "app:edit"], 'there is no permission app:edit; did you mean "apps:edit"?'),
        (["--account", "none"], "there is no account none"),
        (["--zone", "none"], "there is no zone none"),
        (["--expires", "soon"], "write 90d, 2027-01-31"),
    ],
)
def test_what_cannot_be_made(tmp_path, options, message):
    done, asked = run(tmp_path, "create", "x", *options)
    assert done.exit_code in (1, 2)
    assert message in done.stderr
    assert not [one for one in asked if one[0] == "POST"]


def test_a_token_for_the_file():
    options = ["--permission", "all:read", "--account", "acme", "--expires", "2027-01-31", "--address", "192.0.2.0/24"]
    done = spectrum("token", "create", "ci", "--hash", *options)
    app = "apps: {a: {protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:1']}}\naccounts: {acme: {}}\n"
    token = load_text(app + done.stdout, "f").tokens["ci"]
    text = re.search(r"the token is (\S+);", done.stderr)[1]
    assert TEXT.fullmatch(text)
    assert token.hash == digest(text)
    assert token.allows("apps:read", "acme")
    assert not token.allows("apps:edit", "acme")
    assert token.expires_s == 1801353600


def shown(number, name, **more):
    policies = [{"permission_groups": [{"name": "Spectrum Write"}]}]
    return {"id": str(number) * 32, "name": name, "status": "active", "policies": policies} | more


PAGES = {
    ("GET", f"{TOKENS}?per_page=50&page=1"): result(
        [shown(1, "ci"), shown(2, "ci", last_used_on="2026-11-26T09:44:05.678901Z")]
    ),
    ("GET", f"{TOKENS}?per_page=50&page=2"): result([shown(3, "deploy", expires_on="2027-01-31T00:00:00Z")]),
}


def test_tokens_are_listed(tmp_path):
    done, _ = run(tmp_path, "list", answers=PAGES)
    assert done.stdout.splitlines() == [
        f"{'1' * 32}  ci  active, not used yet  Spectrum Write",
        f"{'2' * 32}  ci  active, last used 2026-11-26T09:44:05Z  Spectrum Write",
        f"{'3' * 32}  deploy  active, until 2027-01-31T00:00:00Z, not used yet  Spectrum Write",
    ]
    done, _ = run(tmp_path, "list", "--json", answers=PAGES)
    assert [one["name"] for one in json.loads(done.stdout)] == ["ci", "ci", "deploy"]


def test_a_token_is_shown(tmp_path):
    done, _ = run(tmp_path, "show", "deploy", answers=PAGES)
    assert [line.split() for line in done.stdout.splitlines()[:3]] == [
        ["id", "3" * 32],
        ["name", "deploy"],
        ["status", "active"],
    ]
    done, _ = run(tmp_path, "show", "3" * 32, "--json", answers=PAGES)
    assert json.loads(done.stdout)["name"] == "deploy"
    done, _ = run(tmp_path, "show", "ci", answers=PAGES)
    assert "2 tokens are called ci" in done.stderr


GROUP = {"id": file_id("permissions", "apps:edit"), "name": "Spectrum Write"}
POLICY = {"id": "9" * 32, "effect": "allow", "permission_groups": [GROUP], "resources": {"x": "*"}}
SET = {
    ("GET", f"{TOKENS}?per_page=50&page=1"): result(
        [
            shown(1, "ci", policies=[POLICY], not_before="2026-01-01T00:00:00Z"),
            shown(2, "two", policies=[POLICY, POLICY]),
            shown(
                3, "off", status="disabled", policies=[POLICY], condition={"request_ip": {"not_in": ["192.0.2.9/32"]}}
            ),
        ]
    ),
    ("GET", f"{TOKENS}?per_page=50&page=2"): result([]),
    ("GET", "/client/v4/zones?name=example.com"): result([{"id": "z"}]),
    **{("PUT", f"{TOKENS}/{str(i) * 32}"): result({"id": str(i) * 32, "name": "new"}) for i in (1, 2, 3)},
}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (["ci"], {}),
        (["ci", "--name", "new", "--status", "disabled"], {"name": "new", "status": "disabled"}),
        (["ci", "--expires", "2027-01-31"], {"expires_on": "2027-01-31T00:00:00Z"}),
        (
            ["ci", "--permission", "pools:read"],
            {"policies": [POLICY | {"permission_groups": [{"id": file_id("permissions", "pools:read")}]}]},
        ),
        (
            ["ci", "--zone", "example.com"],
            {"policies": [POLICY | {"resources": {"com.cloudflare.api.account.zone.z": "*"}}]},
        ),
    ],
)
def test_a_token_is_changed_and_the_rest_stays(tmp_path, options, changed):
    done, asked = run(tmp_path, "set", *options, answers=SET)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"changed token new, id {'1' * 32}\n"
    stays = {"name": "ci", "policies": [POLICY], "not_before": "2026-01-01T00:00:00Z"}
    assert asked[-1] == ("PUT", f"{TOKENS}/{'1' * 32}", stays | changed)


def test_a_disabled_token_stays_so_and_keeps_its_other_condition(tmp_path):
    done, asked = run(tmp_path, "set", "off", "--address", "192.0.2.0/24", "--json", answers=SET)
    assert json.loads(done.stdout)["name"] == "new"
    body = asked[-1][2]
    assert body["status"] == "disabled"
    assert body["condition"] == {"request_ip": {"in": ["192.0.2.0/24"], "not_in": ["192.0.2.9/32"]}}
    _, asked = run(tmp_path, "set", "off", "--status", "active", answers=SET)
    assert "status" not in asked[-1][2]


def test_several_policies_are_left_to_the_api(tmp_path):
    done, asked = run(tmp_path, "set", "two", "--permission", "pools:read", answers=SET)
    assert (done.exit_code, asked[-1][0]) == (1, "GET")
    assert "has several policies" in done.stderr


@pytest.mark.parametrize(
    ("wanted", "message", "deleted"),
    [
        ("deploy", "revoked token deploy", "3" * 32),
        ("2" * 32, "revoked token ci", "2" * 32),
        ("ci", "2 tokens are called ci", None),
        ("none", "there is no token none", None),
    ],
)
def test_tokens_are_revoked(tmp_path, wanted, message, deleted):
    done, asked = run(tmp_path, "delete" if deleted else "revoke", wanted, answers=PAGES)
    assert message in done.output
    assert [target for method, target, _ in asked if method == "DELETE"] == ([f"{TOKENS}/{deleted}"] if deleted else [])


def test_the_shell_completes_names_of_tokens(tmp_path):
    context = click.Context(revoke)
    context.params = {"api_path": tmp_path / "s"}
    with serving(tmp_path / "s", dict(PAGES)):
        assert complete_tokens(context, revoke.params[0], "de") == ["deploy"]
    context.params = {"api_path": tmp_path / "gone"}
    assert complete_tokens(context, revoke.params[0], "") == []
