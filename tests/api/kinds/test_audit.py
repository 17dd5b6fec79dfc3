import pytest

from spectrum.api.kinds.accounts import USER_ID
from spectrum.api.kinds.audit import first_version, second_version
from spectrum.store.audit import AuditEntry, Author

TOKEN = Author("token", "3" * 32, "ci", "192.0.2.1", "curl")


def entry(author=TOKEN):
    return AuditEntry(
        author,
        "create",
        "pools",
        "4" * 32,
        "p",
        None,
        {"a": 1},
        "5" * 32,
        "",
        True,
        "POST",
        "/x",
        200,
        "ray",
        "6" * 32,
        7,
        0.0,
    )


@pytest.mark.parametrize(
    ("author", "actor_id", "email", "kind"),
    [
        (TOKEN, "3" * 32, "ci", "user"),
        (Author("local", "0", "root"), USER_ID, "operator@localhost", "user"),
        (Author("system", "", "import"), USER_ID, "import", "Cloudflare"),
    ],
)
def test_the_first_version(author, actor_id, email, kind):
    shown = first_version(entry(author))
    assert (shown["actor"]["id"], shown["actor"]["email"], shown["actor"]["type"]) == (actor_id, email, kind)
    assert (shown["oldValue"], shown["newValue"]) == ("", '{"a":1}')
    assert shown["action"] == {"type": "create", "result": True} and shown["owner"] == {"id": "5" * 32}


def test_the_second_version():
    shown = second_version(entry(), "Acme", "")
    assert shown["account"] == {"id": "5" * 32, "name": "Acme"}
    assert shown["actor"]["token_name"] == "ci" and shown["actor"]["context"] == "api_token"
    assert shown["resource"]["product"] == "load_balancing" and shown["raw"]["status_code"] == 200
    assert second_version(entry(Author("local", "0", "root")), "Acme", "")["actor"]["token_id"] == ""
