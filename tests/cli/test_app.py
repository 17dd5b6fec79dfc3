import pytest

from spectrum.cli import app as module
from tests.cli.harness import spectrum


@pytest.mark.parametrize("what", ["pause", "resume"])
def test_the_daemon_is_asked(monkeypatch, what):
    asked = []

    def ask_daemon(socket_path, method, resource, timeout_s):
        asked.append((method, resource))
        return {"message": "done"} if "web" in resource else {"errors": ["no such app"]}

    monkeypatch.setattr(module, "ask_daemon", ask_daemon)
    assert spectrum("app", what, "web").output == "done\n"
    refused = spectrum("app", what, "a&b")
    assert (refused.exit_code, refused.output) == (1, "no such app\n")
    assert asked == [("POST", f"/apps/{what}?app=web"), ("POST", f"/apps/{what}?app=a%26b")]
