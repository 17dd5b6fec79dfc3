import os

import pytest

from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.loader import KnownObjects, load_file
from spectrum.control.configuration.source import FileSource
from spectrum.control.configuration.watch import FilesRead
from tests.control.configuration.test_source import watched

POOL = "pools: {p: {origins: [{name: o, address: 192.0.2.1, port: 1}]}}\n"


def app(port):
    return f"{{protocol: tcp/{port}, origin_direct: ['tcp://192.0.2.1:1']}}"


def write(folder, **files):
    """Write files; a name's underscores are slashes. Return the first."""
    paths = [folder / f"{name.replace('_', '/')}.yaml" for name in files]
    for path, text in zip(paths, files.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return paths[0]


def faults(path):
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    return [line.replace(f"{path.parent}/", "") for line in str(caught.value).splitlines()]


def test_files_are_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TEAM", "teams")
    path = write(
        tmp_path,
        main=f"include: ['${{TEAM}}/*.yaml', more.yaml]\nworkers: 2\napps: {{a: {app(1)}}}\n",
        teams_b=f"apps: {{b: {app(3)}}}\n",
        teams_a=f"x-a: &a {app(2)}\napps: {{c: *a}}\n" + POOL,
        teams_deep_x="apps: 5\n",
        more="include: teams/a.yaml\nload_balancers: {l: {default_pools: [p]}}\nbusy_poll: off\n",
        teams_empty="# nothing\n",
    )
    known = KnownObjects()
    config = load_file(path, known=known)
    assert (list(config.apps), config.workers, config.busy_poll_s) == (["a", "c", "b"], 2, 0)
    assert list(config.pools) == ["p"]
    counts = [(name.removeprefix(f"{tmp_path}/"), count) for name, count in known.apps]
    assert counts == [
        ("main.yaml", 1),
        ("teams/a.yaml", 1),
        ("teams/b.yaml", 1),
        ("teams/empty.yaml", 0),
        ("more.yaml", 0),
    ]
    assert load_file(path, known=known).apps["b"] is config.apps["b"]


def test_a_pattern_without_files_is_no_fault_and_a_name_is(tmp_path):
    path = write(tmp_path, main=f"include: [none/*.yaml, '**/x.yaml']\napps: {{a: {app(1)}}}\n")
    assert load_file(path).apps
    path.write_text(f"include: none.yaml\napps: {{a: {app(1)}}}\n")
    assert faults(path) == ["main.yaml:1:10: include: none.yaml: no such file or directory"]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("5", "main.yaml:1:10: include: expected a list of files such as teams/*.yaml, found 5"),
        ("[a.yaml, 5]", "main.yaml:1:19: include[1]: expected a file or a pattern such as teams/*.yaml, found 5"),
        ("['']", "main.yaml:1:11: include[0]: expected a file or a pattern such as teams/*.yaml, found ''"),
        ("[main.yaml]", "main.yaml:1:11: include[0]: main.yaml includes itself"),
        ("[loop.yaml]", "loop.yaml:1:11: include[0]: loop.yaml includes itself"),
        ("['${NONE_OF_IT}']", "main.yaml:1:11: include[0]: the environment variable NONE_OF_IT is not set"),
        ("[list.yaml]", "list.yaml:1:1: expected a mapping, found a list"),
        ("[folder]", "folder:1:1: cannot be read: is a directory"),
        ("[broken.yaml]", "broken.yaml:3:1: not YAML"),
        ("[wrong.yaml]", 'wrong.yaml:3:7: apps.y.protocl: unknown key "protocl"; did you mean "protocol"?'),
        ("[same.yaml]", "same.yaml:2:3: apps.a: app a also stands in main.yaml:2:8"),
        ("[same.yaml]", 'same.yaml:3:1: workers: "workers" also stands in main.yaml:3:1'),
        ("[taken.yaml]", "taken.yaml:1:22: apps.b.protocol: [::]:1 is taken by app a"),
    ],
)
def test_a_fault_has_the_file_that_it_stands_in(given, fault, tmp_path):
    path = write(
        tmp_path,
        main=f"include: {given}\napps: {{a: {app(1)}}}\nworkers: 1\n",
        a=f"apps: {{z: {app(9)}}}\n",
        loop="include: [loop.yaml]\n",
        list="[a]\n",
        broken="\napps: {\n",
        wrong=f"apps:\n  x: {app(7)}\n  y: {{protocl: tcp/8}}\n",
        same=f"apps:\n  a: {app(2)}\nworkers: 3\n",
        taken=f"apps: {{b: {app(1)}}}\n",
    )
    (tmp_path / "folder").mkdir()
    found = faults(path)
    assert any(line.startswith(fault) for line in found), found


def test_what_is_included_twice_counts_once_by_whatever_name(tmp_path):
    path = write(tmp_path, main="include: [a.yaml, ./a.yaml, link.yaml, '*.yml']\n", a=f"apps: {{z: {app(9)}}}\n")
    os.symlink("a.yaml", tmp_path / "link.yaml")
    assert list(load_file(path).apps) == ["z"]


def made(folder):
    path = write(folder, main="include: [teams/*.yaml]\n", teams_a=f"apps: {{a: {app(1)}}}\n")
    files, known = FilesRead(), KnownObjects()
    config = load_file(path, files.reading, known)
    source = FileSource(path, True, files, every_s=0.01, known=known)
    assert source.took(config, was_read=True) == []
    return source, config, path


@pytest.mark.parametrize("kind", ["changed", "new", "removed"])
async def test_included_files_are_watched(kind, tmp_path):
    source, config, path = made(tmp_path)

    def act():
        if kind == "changed":
            write(tmp_path, teams_a=f"apps: {{a: {app(2)}}}\n# longer\n")
        elif kind == "new":
            write(tmp_path, teams_b=f"apps: {{b: {app(2)}}}\n")
        else:
            (tmp_path / "teams/a.yaml").unlink()

    assert await watched(source, config, [True], act) == [True]
    revision = source.read()
    if kind == "removed":
        assert revision.faults == (f'{path}:1:1: the file has no "apps"',)
    else:
        assert revision.config.apps["b" if kind == "new" else "a"].protocol.ports.first == 2
        assert tmp_path / "teams/a.yaml" in revision.files


def test_a_file_that_stops_to_include_is_read_in_parts_again(tmp_path):
    known = KnownObjects()
    plain = "apps:\n  a:\n    protocol: tcp/1\n    origin_direct: ['tcp://192.0.2.1:1']\n"
    path = write(tmp_path, main=plain, more=f"apps: {{b: {app(2)}}}\n")
    for text, apps in ((plain, ["a"]), (f"include: more.yaml\n{plain}", ["a", "b"]), (plain, ["a"])):
        path.write_text(text)
        assert list(load_file(path, known=known).apps) == apps
    assert known.text is not None
