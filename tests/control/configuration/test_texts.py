import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from spectrum.control.configuration import texts
from spectrum.control.configuration.diagnostics import ConfigError
from spectrum.control.configuration.texts import STANDARD_INPUT, name_of_file, read_text


def fault(path):
    with pytest.raises(ConfigError) as caught:
        read_text(path)
    return str(caught.value)


def test_a_text(tmp_path):
    (tmp_path / "f").write_text("a: ü\n")
    assert read_text(tmp_path / "f") == "a: ü\n"
    assert (name_of_file(tmp_path), name_of_file(STANDARD_INPUT)) == (str(tmp_path), "standard input")


def test_what_is_no_text(tmp_path, monkeypatch):
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


def test_standard_input_is_kept_for_a_successor():
    program = (
        "import subprocess, sys\n"
        "from spectrum.control.configuration.texts import *\n"
        "keep_standard_input()\n"
        "print(read_text(STANDARD_INPUT))\n"
        "subprocess.run([sys.executable, '-c', 'print(input())'], check=True)\n"
    )
    done = subprocess.run([sys.executable, "-uc", program], input="a: ü", capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["a: ü", "a: ü", ""]
