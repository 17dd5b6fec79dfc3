import json

from spectrum.control.configuration.loader import load_file
from spectrum.store.objects import ObjectChange
from spectrum.store.reading import FILE_NAME
from spectrum.store.store import Store
from tests.cli.api_server import error, result, serving
from tests.cli.harness import spectrum

APP = {"protocol": "tcp/2", "origin_direct": ["tcp://192.0.2.1:2"]}


def file_with_store(tmp_path, **objects):
    path = tmp_path / "spectrum.yaml"
    path.write_text(
        f"api: {{store: {tmp_path}/store}}\napps: {{a: {{protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:1']}}}}\n"
    )
    store = Store(tmp_path / "store")
    store.open()
    changes = [
        ObjectChange(key, f"{key}/{name}", name, one) for key, some in objects.items() for name, one in some.items()
    ]
    store.commit(changes, [], 1.0)
    store.close()
    return path


def test_file_and_store_are_printed(tmp_path):
    path = file_with_store(tmp_path, apps={"b": APP, "a": APP})
    done = spectrum("export", "-c", str(path))
    assert done.exit_code == 0, done.output
    assert done.stderr == "apps.a of the store is left out: the file has one of that name\n"
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert sorted(load_file(tmp_path / "again.yaml").apps) == ["a", "b"]


def test_it_is_written_for_its_owner_alone(tmp_path):
    header = {"Authorization": ["Bearer x"]}
    path = file_with_store(tmp_path, monitors={"m": {"type": "http", "header": header}})
    to = tmp_path / "out.yaml"
    to.write_text("before")
    to.chmod(0o644)
    done = spectrum("export", "-c", str(path), "-o", str(to))
    assert done.stderr == "environment variables replace secrets: SPECTRUM_SECRET_MONITORS_M_AUTHORIZATION\n"
    assert (done.stdout, to.stat().st_mode & 0o777) == ("", 0o600)
    assert "Bearer" not in to.read_text()
    done = spectrum("export", "-c", str(path), "--secrets")
    assert "Bearer x" in done.stdout
    done = spectrum("export", "-c", str(path), "-o", str(tmp_path / "none" / "x"))
    assert done.exit_code == 1
    assert "no such file" in done.stderr


def test_conflicts_are_printed_and_reported(tmp_path):
    path = file_with_store(tmp_path, apps={"b": {"protocol": "tcp/1", "origin_direct": ["tcp://192.0.2.1:1"]}})
    done = spectrum("export", "-c", str(path))
    assert done.exit_code == 1
    assert "  b:\n" in done.stdout
    assert "the exported configuration has faults:\nthe export:" in done.stderr


def test_a_damaged_store(tmp_path):
    path = file_with_store(tmp_path)
    (tmp_path / "store" / FILE_NAME).write_bytes(b"x" * 5000)
    done = spectrum("export", "-c", str(path))
    assert done.exit_code == 1
    assert "is damaged" in done.stderr


def import_file(tmp_path, text, answer):
    (tmp_path / "f.yaml").write_text(text)
    with serving(tmp_path / "s", {("POST", "/client/v4/spectrum/import"): answer}) as asked:
        arguments = ["import", "--api-socket", str(tmp_path / "s"), str(tmp_path / "f.yaml")]
        return spectrum(*arguments), asked


def test_objects_are_brought_into_the_store(tmp_path):
    text = f"workers: 2\napps: {{b: {json.dumps(APP)}}}\n"
    done, asked = import_file(tmp_path, text, result({"created": 1, "updated": 0, "unchanged": 0}))
    assert (done.exit_code, done.stdout) == (0, "1 created, 0 updated, 0 unchanged\n")
    assert done.stderr == "left out, for the daemon's own file: workers\n"
    assert asked == [("POST", "/client/v4/spectrum/import", {"objects": {"apps": {"b": APP}}})]


def test_refusals(tmp_path):
    done, _ = import_file(tmp_path, f"apps: {{b: {json.dumps(APP)}}}", error("taken by app a", "/apps/b/protocol"))
    assert (done.exit_code, done.stderr) == (1, "apps.b.protocol: taken by app a\n")
    for text, message in (
        ("workers: 2", "has no objects"),
        ("a: [", "f.yaml:2:1:"),
        ("apps: {a: {preset: x}}", "preset"),
    ):
        done, asked = import_file(tmp_path, text, result(None))
        assert (done.exit_code, asked) == (1, [])
        assert message in done.stderr
