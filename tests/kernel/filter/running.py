"""Run programs by BPF_PROG_TEST_RUN (bpf(2)), without an interface."""

import ctypes
import os
import struct
import subprocess
from pathlib import Path

from spectrum.kernel import libbpf

BPF = Path(libbpf.__file__).with_name("bpf")
_CALL = {"x86_64": 321, "aarch64": 280}
_TEST_RUN = 10
_REQUEST = struct.Struct("=IIIIQQII")


def run(program: int, packet: bytes, repeat: int = 1) -> tuple[int, int]:
    """Run a program on a packet; return its result, and how many nanoseconds one run took."""
    given, left = ctypes.create_string_buffer(packet, len(packet)), ctypes.create_string_buffer(4096)
    request = ctypes.create_string_buffer(
        _REQUEST.pack(
            program, 0, len(packet), len(left), ctypes.addressof(given), ctypes.addressof(left), repeat, 0
        ).ljust(80, b"\0")
    )
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(_CALL[os.uname().machine], _TEST_RUN, request, 80) < 0:
        raise OSError(ctypes.get_errno(), "the kernel does not run it")
    fields = _REQUEST.unpack_from(request.raw)
    return fields[1], fields[7]


def compiled(source: Path, folder: Path) -> bytes:
    """Return the object of a program of a test, which includes those of the package."""
    target = folder / f"{source.stem}.o"
    command = ["clang", "-O2", "-g", "-Wall", "-Werror", "-Wno-unused", "-target", "bpf", "-mcpu=v2", "-I", BPF]
    command += [f"-I/usr/include/{os.uname().machine}-linux-gnu", "-c", source, "-o", target]
    subprocess.run(command, check=True)
    return target.read_bytes()
