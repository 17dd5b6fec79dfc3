"""Flow programs are read: compiled once, and had from what was kept where there is no compiler."""

import os

import pytest

from spectrum.control.configuration.loader import ConfigError, load_text
from spectrum.control.flow_programs import reading
from spectrum.control.flow_programs.kept_objects import KeptObjects
from spectrum.control.flow_programs.reading import flow_program_faults, flow_program_paths, read_program
from spectrum.core.flow_programs.instructions import ProgramError
from spectrum.kernel import compiling

SOURCE = "#include <spectrum_flow.h>\nFLOW_PROGRAM(packet)\n{\n\treturn flow_u8(packet, 0) == 7;\n}\n"


@pytest.fixture(autouse=True)
def clang(require):
    require("clang")


@pytest.fixture
def game(tmp_path):
    path = tmp_path / "game.c"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def kept(tmp_path):
    return KeptObjects(tmp_path / "kept")


@pytest.fixture
def start_without_clang(tmp_path, monkeypatch):
    """What forgets all that this process knows, and lets it find no compiler."""

    def start():
        reading._built.cache_clear()
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))

    return start


def keep(kept, *programs):
    kept.keep({one.address: one.built for one in programs})


def test_faults_name_file_and_line(tmp_path, game):
    wrong, helping = tmp_path / "wrong.c", tmp_path / "helping.c"
    wrong.write_text(SOURCE.replace("== 7", "== seven"))
    helping.write_text("static int (*f)(void) = (void *)5;\n" + SOURCE.replace("== 7", "== f()"))

    def text(*files):
        programs = ", ".join(f"p{n}: {{source: {path}, apps: [g{n}]}}" for n, path in enumerate(files))
        apps = ", ".join(
            f"g{n}: {{protocol: udp/{9000 + n}, origin_direct: ['udp://192.0.2.9:1']}}" for n in range(len(files))
        )
        begin = "filter: {interfaces: [lo], guard: ['::1']}\nddos: {}\n"
        return f"{begin}apps: {{{apps}}}\nflow_programs: {{{programs}}}\n"

    config = load_text(text(game), "f")
    assert flow_program_faults(config) == [] and flow_program_paths(config) == [game]
    assert read_program(game, True) is read_program(game, True), "it is compiled once"
    with pytest.raises(ConfigError) as caught:
        load_text(text(wrong, helping, tmp_path / "nothing.c"), "f")
    said = str(caught.value)
    assert f"{wrong}:4: use of undeclared identifier 'seven'" in said
    assert f"{helping}:5: it calls the kernel's helper 5" in said
    assert f"{tmp_path}/nothing.c: cannot be read: no such file" in said


def test_objects(tmp_path, game):
    built = tmp_path / "game.o"
    built.write_bytes(compiling.compile_flow_program(SOURCE.encode(), game))
    read = read_program(built, False)
    assert read.code.code == read_program(game, True).code.code and read.address is None and not read.is_compiled
    built.write_bytes(b"no object")
    with pytest.raises(ProgramError, match=f"{built}: it is not an object file"):
        read_program(built, False)


def test_what_was_kept_needs_no_compiler(game, kept, start_without_clang):
    before = read_program(game, True, kept)
    keep(kept, before)
    start_without_clang()
    assert read_program(game, True, kept) == before and before.code.line_of(0) == f"{game}:2"
    game.write_text(SOURCE.replace("== 7", "== 8"))
    with pytest.raises(ProgramError, match="there is no clang on this machine"):
        read_program(game, True, kept)


def test_it_is_of_one_file_and_of_one_version_of_our_headers(game, kept, tmp_path, monkeypatch):
    read = read_program(game, True, kept)
    (other := tmp_path / "other.c").write_text(SOURCE)
    assert read_program(other, True, kept).address != read.address, "messages name the file"
    headers = tmp_path / "include"
    headers.mkdir()
    (headers / "spectrum_flow.h").write_text((compiling.HEADERS / "spectrum_flow.h").read_text() + "/* new */\n")
    monkeypatch.setattr(compiling, "HEADERS", headers)
    compiling.compiler_digest.cache_clear()
    reading._built.cache_clear()
    try:
        assert read_program(game, True, kept).address != read.address
    finally:
        compiling.compiler_digest.cache_clear()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:100], lambda data: reading.sha256(data[40:]).digest() + data[40:]]
)
def test_a_damaged_one_is_compiled_again(game, kept, damage, caplog):
    before = read_program(game, True, kept)
    keep(kept, before)
    (path,) = kept.folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    reading._built.cache_clear()
    assert read_program(game, True, kept) == before
    assert f"{game} is compiled again, as its stored object cannot be used: " in caplog.text


def test_one_that_was_made_by_others_is_checked_as_any(game, kept, caplog):
    address = read_program(game, True, kept).address
    helping = SOURCE.replace("#include", "static int (*f)(void) = (void *)5;\n#include").replace("== 7", "== f()")
    kept.keep({address: compiling.compile_flow_program(helping.encode(), game)})
    reading._built.cache_clear()
    assert read_program(game, True, kept).address == address
    assert "it calls the kernel's helper 5" in caplog.text


def test_files_that_are_included_are_part_of_it(game, kept, tmp_path, start_without_clang):
    game.write_text(SOURCE.replace("\n", '\n#include "of/kind.h"\n', 1).replace("== 7", "== KIND"))
    (folder := tmp_path / "of").mkdir()
    (folder / "kind.h").write_text('#include "number.h"\n#define KIND NUMBER\n')
    (folder / "number.h").write_text("#define NUMBER 8\n")
    read = [read_program(game, True, kept)]
    assert read_program(game, True, kept) is read[0], "it is compiled once"
    (folder / "number.h").write_text("#define NUMBER 9\n")
    read.append(read_program(game, True, kept))
    (tmp_path / "number.h").write_text("/* found later than the other one */\n")
    read.append(read_program(game, True, kept))
    assert len({one.address for one in read}) == 3
    assert read[0].code.code != read[1].code.code == read[2].code.code
    keep(kept, *read[2:])
    start_without_clang()
    assert read_program(game, True, kept) == read[2]


def test_what_is_included_by_a_macro_is_not_known(game, kept, tmp_path):
    game.write_text('#define KIND_H "kind.h"\n' + SOURCE.replace("\n", "\n#include KIND_H\n", 1).replace("7", "KIND"))
    codes = []
    for number in (8, 9):
        (tmp_path / "kind.h").write_text(f"#define KIND {number}\n")
        read = read_program(game, True, kept)
        assert read.is_compiled and read.address is None
        codes.append(read.code.code)
    assert codes[0] != codes[1]


def test_more_than_so_many(game, kept, tmp_path):
    count = reading.MOST_INCLUDED + 1
    for number in range(count):
        (tmp_path / f"{number}.h").write_text("")
    game.write_text("".join(f'#include "{number}.h"\n' for number in range(count)) + SOURCE)
    assert read_program(game, True, kept).address is None


def test_a_folder_is_no_file(game, kept, tmp_path):
    (tmp_path / "kind.h").mkdir()
    os.mkfifo(tmp_path / "pipe.h")
    game.write_text('#if 0\n#include "kind.h"\n#include "pipe.h"\n#endif\n' + SOURCE)
    assert read_program(game, True, kept).address is not None
