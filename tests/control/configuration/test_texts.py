import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from spectrum.control.configuration import texts
from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.texts import STANDARD_INPUT, keep_standard_input, name_of_file, read_text


def fault(path):
    with pytest.raises(ConfigError) as caught:
        read_text(path)
    return str(caught.value)


def test_a_text(tmp_path):
    (tmp_path / "f").write_text("a: ü\n")
    assert read_text(tmp_path / "f") == "a: ü\n"
    assert (name_of_file(tmp_path), name_of_file(STANDARD_INPUT)) == (str(tmp_path), "standard input")


def test_invalid_texts(tmp_path, monkeypatch):
    assert fault(tmp_path / "none") == f"{tmp_path}/none:1:1: cannot be read: no such file or directory"
    assert fault(tmp_path) == f"{tmp_path}:1:1: cannot be read: is a directory"
    (tmp_path / "latin").write_bytes(b"a: 1\nb: \xe4")
    assert fault(tmp_path / "latin") == f"{tmp_path}/latin:2:1: not UTF-8 text"
    monkeypatch.setattr(texts, "MAX_BYTES", 1 << 20)
    (tmp_path / "long").write_bytes(bytes((1 << 20) + 1))
    assert fault(tmp_path / "long") == f"{tmp_path}/long:1:1: cannot be read: it is longer than 1 MiB"


def test_what_never_ends(tmp_path):
    assert fault(Path("/dev/zero")) == "/dev/zero:1:1: cannot be read: it is a character device; write a file"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        assert "it is a socket" in fault(tmp_path / "s")


def test_a_pipe(tmp_path):
    """As in `-c <(program)`."""
    reads, writes = os.pipe()
    with open(reads, "rb"), open(writes, "wb") as end:
        end.write(b"a: 1\n")
        end.close()
        assert read_text(Path(f"/proc/self/fd/{reads}")) == "a: 1\n"


@contextmanager
def standard_input(descriptor):
    """Has this process read its standard input from a descriptor, which it owns."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_standard_input_from_a_file_stands_as_before(tmp_path):
    (tmp_path / "f").write_text("skipped\na: ü\n")
    with standard_input(os.open(tmp_path / "f", os.O_RDONLY)):
        os.lseek(0, len("skipped\n"), os.SEEK_SET)
        assert read_text(STANDARD_INPUT) == read_text(STANDARD_INPUT) == "a: ü\n"


def test_standard_input_is_kept_for_a_successor():
    reads, writes = os.pipe()
    os.write(writes, "a: ü".encode())
    os.close(writes)
    with standard_input(reads):
        keep_standard_input()
        assert read_text(STANDARD_INPUT) == "a: ü"
        program = [sys.executable, "-c", "print(input())"]
        assert subprocess.run(program, capture_output=True, text=True, check=True).stdout == "a: ü\n"


def test_standard_input_that_is_no_text():
    reads, writes = os.pipe()
    os.write(writes, b"a\n\xe4")
    os.close(writes)
    with standard_input(reads):
        assert fault(STANDARD_INPUT) == "standard input:2:1: not UTF-8 text"
