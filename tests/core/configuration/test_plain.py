from pathlib import Path

import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.plain import HIDDEN, plain
from spectrum.core.features import SECTIONS
from tests.certificates import tls_folder

EXAMPLES = Path(__file__).parents[3] / "config"
APP = {
    "protocol": "tcp/20-29",
    "edge_ips": ["192.0.2.1", "2001:db8::1"],
    "origin_direct": ["tcp://192.0.2.1:20-29"],
    "proxy_protocol": "v2",
    "accept_proxy_protocol": {"from": ["192.0.2.0/24"], "timeout": 2.0},
    "timeouts": {"idle": 5.0},
    "sni": ["a.example", "*.b.example"],
}


def objects(config):
    """All named objects of a configuration, made of their plain values."""
    found = {}
    for section in SECTIONS:
        for name, one in getattr(config, section.key).items():
            found[section.key, name] = one, section.model.model_validate(plain(one))
    return found


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_objects_of_examples_are_the_same_again(path, tmp_path, monkeypatch):
    if path.stem == "mtls":
        monkeypatch.setenv("TLS_FOLDER", tls_folder(tmp_path))
    config = load_text(path.read_text(), str(path), folder=path.parent)
    for before, after in objects(config).values():
        assert after == before


def test_only_what_was_given_is_there():
    app = Config.model_validate({"apps": {"a": APP}}).apps["a"]
    assert plain(app) == APP


def test_what_may_be_a_secret_is_not_shown():
    config = Config.model_validate({"apps": {"a": APP}})
    config.hide([("apps", "a", "preset"), ("apps", "a", "sni", 1), ("apps", "a", "timeouts", "idle")])
    shown = plain(config.apps["a"], ("apps", "a"), config.hides)
    assert shown == APP | {"sni": ["a.example", HIDDEN]}
