import json
from functools import cache
from pathlib import Path

import pytest

from spectrum.control.configuration.references import resolve
from spectrum.control.configuration.schema import schema
from spectrum.control.configuration.yaml_marks import Document, Reference
from spectrum.core.configuration.config import App, Config

CONFIG = Path(__file__).parents[3] / "config"
APP = "{protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:1']}"


@cache
def validator():
    """What checks a file as editors do; see the fixture `jsonschema`."""
    return pytest.importorskip("jsonschema").Draft202012Validator(schema())


def as_written(value):
    """Return a file's content as an editor has it, with references as they stand there."""
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(as_written, value))
    return value.text if isinstance(value, Reference) else value


def faults(text):
    document = Document(text)
    assert document.faults == []
    return [error.json_path for error in validator().iter_errors(as_written(document.value))]


def test_the_file_that_we_ship_is_this_one():
    """`spectrum schema >config/spectrum.schema.json` makes it."""
    is_this_one = json.loads((CONFIG / "spectrum.schema.json").read_text()) == schema()
    assert is_this_one, "a key was changed: spectrum schema >config/spectrum.schema.json"
    validator().check_schema(schema())


@pytest.mark.parametrize("path", sorted(CONFIG.rglob("*.yaml")), ids=lambda path: path.name)
def test_our_files_are_right(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize("page", sorted((CONFIG.parent / "docs").glob("*.md")), ids=lambda page: page.name)
def test_files_in_the_docs_are_right(page):
    blocks = [part.partition("```")[0] for part in page.read_text().split("```yaml\n")[1:]]
    for block in blocks:
        if "\napps:" in f"\n{block}":
            assert faults(block) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f"wrkers: 1\napps: {{a: {APP}}}", "$"),
        ("apps: 5", "$.apps"),
        ("apps: {a: {protocl: tcp/1, origin_direct: [x]}}", "$.apps.a"),
        ("apps: {a: {origin_direct: [x]}}", "$.apps.a"),
        ("apps: {a: {preset: sssh, origin_direct: [x]}}", "$.apps.a.preset"),
        (f"apps: {{a: {APP[:-1]}, proxy_protocol: v3}}}}", "$.apps.a.proxy_protocol"),
        (f"apps: {{a: {APP[:-1]}, drain_pace: fast}}}}", "$.apps.a.drain_pace"),
        (f"apps: {{a: {APP[:-1]}, timeouts: {{idle: []}}}}}}", "$.apps.a.timeouts.idle"),
        (f"apps: {{a: {APP}}}\npools: {{p: {{origins: []}}}}", "$.pools.p.origins"),
        (f"apps: {{a: {APP}}}\nmax_flows: 0", "$.max_flows"),
        (f"apps: {{a: {APP}}}\nseccomp: 1", "$.seccomp"),
        (f"apps: {{a: {APP}}}\ninclude: 5", "$.include"),
    ],
)
def test_faults(text, path):
    assert path in faults(text)


@pytest.mark.parametrize("text", ["x-note: 5", "include: a.yaml", "max_flows: ${N:-5}", "seccomp: ${S:-true}"])
def test_what_is_right_beside_keys_of_the_models(text):
    assert resolve(Document(text).value).faults == []
    assert faults(f"{text}\napps: {{a: {{preset: ssh, origin_direct: ['tcp://192.0.2.1:1']}}}}") == []


def test_all_keys_are_there():
    found = schema()
    for model, keys in ((Config, found["properties"]), (App, found["$defs"]["App"]["properties"])):
        assert {field.alias or name for name, field in model.model_fields.items()} <= keys.keys()


def test_keys_have_the_descriptions_of_their_fields():
    found = schema()
    app, pool = (found["$defs"][name]["properties"] for name in ("App", "Pool"))
    assert app["origin_max_sessions"]["description"] == ("Maximum of open sessions and flows of this app per origin.")
    assert app["timeouts"].get("description") is None, "its keys have theirs"
    assert found["$defs"]["Timeouts"]["properties"]["connect"]["description"].startswith("TCP: time to reach an origin")
    assert pool["slow_start"]["description"].startswith("Time in which an origin's share grows"), (
        "by its name in the file"
    )
    assert found["properties"]["user"]["description"].startswith("The user that root changes to")
    assert "\n" not in json.dumps([one.get("description") for one in app.values()])
