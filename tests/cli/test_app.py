import pytest

from spectrum.cli import app as module
from spectrum.cli.client import DaemonError
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


def test_names_are_completed(monkeypatch):
    status = {"apps": [{"name": "web"}, {"name": "ssh"}], "paused": [{"app": "web"}, {"app": "was"}]}
    monkeypatch.setattr(module, "ask", lambda *_: status)
    context = module.click.Context(module.pause)
    assert module._names(context, None, "w") == ["web", "was"]

    def ask(*_):
        raise DaemonError("no daemon")

    monkeypatch.setattr(module, "ask", ask)
    assert module._names(context, None, "w") == []
