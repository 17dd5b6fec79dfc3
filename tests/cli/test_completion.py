import click
import pytest

from spectrum.cli import completion as module
from spectrum.cli.client import DaemonError

STATUS = {
    "apps": [{"name": "web"}, {"name": "ssh"}],
    "paused": [{"app": "web"}, {"app": "was"}],
    "pools": [{"name": "p", "origins": [{"name": "one"}, {"name": "two"}]}],
    "origins_by_hand": [{"origin": "p/two"}, {"origin": "p/gone"}],
}


@pytest.fixture
def context():
    return click.Context(click.Command("x"))


def test_names_of_apps(monkeypatch, context):
    monkeypatch.setattr(module, "ask", lambda *_: STATUS)
    assert module.complete_apps(context, None, "w") == ["web", "was"]


def test_names_of_origins(monkeypatch, context):
    monkeypatch.setattr(module, "ask", lambda *_: STATUS)
    assert module.complete_origins(context, None, "p") == ["p/one", "p/two", "p/gone"]
    assert module.complete_origins(context, None, "p/o") == ["p/one"]


def test_without_a_daemon_nothing_is_completed(monkeypatch, context):
    def ask(*_):
        raise DaemonError("no daemon")

    monkeypatch.setattr(module, "ask", ask)
    assert module.complete_apps(context, None, "w") == module.complete_origins(context, None, "") == []
