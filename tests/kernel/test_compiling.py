"""clang in a process that may do nothing else."""

import os

import pytest

from spectrum.core.flow_programs.elf import read_flow_code
from spectrum.kernel import compiling
from spectrum.kernel.compiling import CompileError, command, compile_flow_program, compiler_digest, find_clang

SOURCE = b"#include <spectrum_flow.h>\nFLOW_PROGRAM(packet)\n{\n\treturn flow_u8(packet, 0) == 7;\n}\n"


@pytest.fixture
def clang(require):
    require("clang")


def said(source, path):
    with pytest.raises(CompileError) as caught:
        compile_flow_program(source, path)
    return str(caught.value)


def test_a_source(clang, tmp_path):
    path = tmp_path / "game.c"
    (tmp_path / "magic.h").write_text("#define MAGIC 7\n")
    code = read_flow_code(compile_flow_program(SOURCE.replace(b"\nFLOW", b'\n#include "magic.h"\nFLOW'), path))
    assert not code.has_state and code.line_of(0) in (f"{path}:3", f"{path}:4")
    assert compile_flow_program(b"#include <stdint.h>\nuint32_t x;\n" + SOURCE, path)


def test_what_clang_says_names_file_and_line(clang, tmp_path):
    path = tmp_path / "game.c"
    wrong = SOURCE.replace(b"flow_u8", b"flow_u8(x").replace(b"== 7", b"== seven")
    assert f"{path}:4: use of undeclared identifier" in said(wrong, path)
    assert "clang fails" in said(b"#error", path) or f"{path}:1:" in said(b"#error no", path)
    assert said(bytes(compiling.MAX_SOURCE_BYTES + 1), path) == f"{path}: more than {2**20} bytes"


def test_it_reads_no_other_file(clang, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("int secret;")
    folder = tmp_path / "programs"
    folder.mkdir()
    assert "game.c:1: " in said(f'#include "{secret}"\n'.encode(), folder / "game.c")
    assert "secret" not in said(f'#include "{secret}"\n'.encode(), folder / "game.c").replace(str(secret), "")


def test_a_digest_tells_flags_and_headers_from_others(tmp_path, monkeypatch):
    digest = compiler_digest.__wrapped__
    ours = digest()
    assert len(ours) == 32 and digest() == ours
    monkeypatch.setattr(compiling, "FLAGS", (*compiling.FLAGS, "-O1"))
    assert digest() != ours
    monkeypatch.undo()
    (tmp_path / "spectrum_flow.h").write_text("other")
    monkeypatch.setattr(compiling, "HEADERS", tmp_path)
    assert digest() != ours


def test_without_clang(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_clang() is None
    assert "apt-get install clang" in said(SOURCE, tmp_path / "game.c")
    other = tmp_path / "clang-17"
    other.write_text("")
    other.chmod(0o755)
    assert find_clang() == str(other)


@pytest.fixture
def false_clang(tmp_path, monkeypatch):
    """What makes a script that is found as clang."""

    def make(script):
        path = tmp_path / "clang"
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


def test_one_that_does_not_end(false_clang, tmp_path, monkeypatch):
    false_clang("exec sleep 60")
    monkeypatch.setattr(compiling, "TIMEOUT_S", 1.0)
    assert "does not end within 1 s" in said(SOURCE, tmp_path / "game.c")


def test_one_that_fails_without_output(false_clang, tmp_path):
    false_clang("exit 3")
    assert "clang fails: it ends with 3" in said(SOURCE, tmp_path / "game.c")
    false_clang("kill -9 $$")
    assert "it was ended by signal 9" in said(SOURCE, tmp_path / "game.c")


def test_what_it_may_do(false_clang, tmp_path):
    false_clang(
        f"(echo x >{tmp_path}/made) 2>/dev/null || echo write\n"
        "(read line </etc/hosts) 2>/dev/null || echo read\n"
        "(exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -q 'not permitted' && echo connect\n"
        "echo done"
    )
    assert compile_flow_program(SOURCE, tmp_path / "game.c").split() == [b"write", b"read", b"connect", b"done"]


def test_the_command():
    words = command("/usr/bin/clang", "/etc/spectrum")
    assert words[0] == "/usr/bin/clang" and "-nostdlibinc" in words and words[-2:] == ["-o", "-"]


def test_it_cannot_be_run(clang, tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "python", lambda module: [str(tmp_path / "nothing")])
    assert "clang cannot be run: no such file" in said(SOURCE, tmp_path / "game.c")
