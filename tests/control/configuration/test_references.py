import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.control.configuration import references
from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.loader import KnownObjects, load_text
from spectrum.control.configuration.references import resolve
from spectrum.control.configuration.yaml_marks import Document
from spectrum.core.configuration.changes import changes, restart_needed

SECRET = "Bearer_s3cret"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """Variables and a credential."""
    for name, value in {"PORT": "2222", "EMPTY": "", "EVIL": "a, b: {c: [d]\n- e", "ON": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "token").write_text(f"{SECRET}\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${PORT}", 2222),
        ("'${PORT}'", "2222"),
        ('"${PORT}"', "2222"),
        ("tcp/${PORT}", "tcp/2222"),
        ("${PORT}-${PORT}", "2222-2222"),
        ("${UNSET:-5}", 5),
        ("${EMPTY:-x}", "x"),
        ("${UNSET:-}", None),
        ("'${UNSET:-}'", ""),
        ("${UNSET:-a:-b}", "a:-b"),
        ("${EMPTY}", None),
        ("${ON}", True),
        ("$${PORT}", "${PORT}"),
        ("a$$b$c$", "a$b$c$"),
        ("$$$${PORT}", "$${PORT}"),
        ("$$${PORT}", "$2222"),
        ("${EVIL}", "a, b: {c: [d]\n- e"),
        ("${credential:token}", SECRET),
        ("{a: [x, '${ON}'], '${b}': 1}", {"a": ["x", "true"], "${b}": 1}),
    ],
)
def test_a_value(text, value):
    found = resolve(Document(text).value)
    assert (found.value, found.faults) == (value, [])
    assert type(found.value) is type(value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("${UNSET}", "the environment variable UNSET is not set; ${UNSET:-default} has a default"),
        ("x ${PORT", "'${PORT' is not closed; expected ${NAME}, ${NAME:-default} or ${credential:NAME}; a dollar"),
        ("${}", "'${}' is not a reference; expected ${NAME}"),
        ("${a b}", "'${a b}' is not a reference"),
        ("${credential:none}", "the credential none: "),
        ("${credential:../token}", "'${credential:../token}' is not a reference"),
        ("'${credential:..}'", "'${credential:..}' is not a reference"),
    ],
)
def test_what_cannot_be_had(text, fault):
    found = resolve({"a": [Document(text).value]})
    ((path, message),) = [(one.path, one.message) for one in found.faults]
    assert path == ("a", 0)
    assert message.startswith(fault)


def test_credentials(monkeypatch, tmp_path):
    def fault(name):
        (found,) = resolve(Document(f"${{credential:{name}}}").value).faults
        return found.message.removeprefix(f"the credential {name}: {tmp_path}/{name}").removeprefix(": ")

    assert fault("none") == "no such file or directory"
    (tmp_path / "latin").write_bytes(b"\xe4")
    assert fault("latin") == " is not UTF-8 text"
    os.mkfifo(tmp_path / "pipe")
    assert fault("pipe") == " is not a file"
    monkeypatch.setattr(references, "MAX_CREDENTIAL_BYTES", 1 << 20)
    (tmp_path / "long").write_bytes(bytes((1 << 20) + 1))
    assert fault("long") == " is longer than 1 MiB"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert fault("token").startswith("the credential token: $CREDENTIALS_DIRECTORY is not set")
    monkeypatch.setitem(os.environ, "BYTES", os.fsdecode(b"\xff"))
    (found,) = resolve(Document("${BYTES}").value).faults
    assert found.message == "the environment variable BYTES is not UTF-8 text"


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_what_has_no_reference_stays(value):
    assert resolve([value]).value == [value]


FILE = """\
apps:
  x: {protocol: 'tcp/${PORT}', origin_direct: ['tcp://192.0.2.1:22']}
monitors:
  m: {type: http, header: {Authorization: ['${TOKEN}']}, path: '/${TOKEN}'}
pools:
  p: {origins: [{name: a, address: 192.0.2.1, port: 80}], monitor: m}
"""


def loaded(text, known=None):
    try:
        return load_text(text, "f", known=known)
    except ConfigError as exc:
        return str(exc)


def test_a_fault_has_its_place_and_no_secret(monkeypatch):
    monkeypatch.delenv("TOKEN", raising=False)
    assert loaded(FILE).splitlines() == [
        f"f:4:{column}: monitors.m.{path}: the environment variable TOKEN is not set; ${{TOKEN:-default}} has a default"
        for column, path in ((44, "header.Authorization[0]"), (64, "path"))
    ]
    for secret in (SECRET, f"{SECRET} more\nlines", f"{SECRET}'\"" * 30):
        monkeypatch.setenv("TOKEN", secret)
        for text in (
            FILE.replace("type: http", "type: '${TOKEN}'"),
            FILE.replace("type: http", "port: '${TOKEN}', type: http"),
            FILE.replace("tcp/${PORT}", "${TOKEN}"),
            FILE.replace("monitor: m", "monitor: '${TOKEN}'"),
            FILE.replace("{Authorization: ['${TOKEN}']}", "'${TOKEN}'"),
        ):
            said = loaded(text)
            assert "${TOKEN}" in said
            assert SECRET not in said


def test_a_reload_tells_no_secret(monkeypatch):
    monkeypatch.setenv("TOKEN", SECRET)
    known = KnownObjects()
    before = loaded(FILE, known)
    assert before.monitors["m"].path == f"/{SECRET}"
    assert before.apps["x"].protocol.ports.first == 2222
    monkeypatch.setenv("TOKEN", "other")
    after = loaded(FILE.replace("/${TOKEN}", "/"), known)
    assert sorted(changes(before, after)[0].removeprefix("changed monitor m: ").split(", ")) == ["header", "path"]
    third = loaded(FILE.replace("${TOKEN}", ""), known)
    fourth = loaded(FILE.replace("${TOKEN}", "z"), known)
    assert "path / -> /z" in changes(third, fourth)[0]


def test_settings_that_take_a_restart_tell_no_secret(monkeypatch):
    monkeypatch.setenv("TOKEN", "/a")
    text = FILE.replace("/${TOKEN}", "/") + "control: {socket: '${TOKEN}'}\n"
    before = loaded(text)
    monkeypatch.setenv("TOKEN", "/b")
    assert restart_needed(before, loaded(text)) == ["control.socket"]


def test_a_file_with_references_is_read_as_a_whole(monkeypatch):
    """Also where only other apps differ: what they stand for may be another thing by now."""
    known = KnownObjects()
    text = "apps:\n  x:\n    protocol: tcp/${PORT}\n    origin_direct: ['tcp://192.0.2.1:22']\n"
    assert loaded(text, known).apps["x"].protocol.ports.first == 2222
    monkeypatch.setenv("PORT", "2223")
    assert loaded(text, known).apps["x"].protocol.ports.first == 2223
    plain = text.replace("${PORT}", "1")
    assert loaded(plain, known).apps["x"].protocol.ports.first == 1
    assert loaded(text, known).apps["x"].protocol.ports.first == 2223


def test_a_default_is_not_replaced_by_itself():
    (said,) = loaded("apps: {x: {protocol: 'tcq/${UNSET:-22}', origin_direct: ['tcp://192.0.2.1:22']}}").splitlines()
    assert "'tcq/${UNSET:-22}'" in said
    assert "${UNSET:-tcq" not in said and "${UNSET:-$" not in said
