"""Compile a flow program with clang, in a sandboxed process.

`python -m spectrum.kernel.compiling CLANG FOLDER` is that process.

It reads the source from standard input, and writes the object to standard output and clang's messages to standard
error. It has no capability, can open only files of the system and of the source's folder, and writes none; it is killed
at its limits of time and memory.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from spectrum.kernel import seccomp
from spectrum.kernel.installation import python
from spectrum.kernel.landlock import limit_files
from spectrum.kernel.privileges import confine

MODULE = "spectrum.kernel.compiling"
HEADERS = Path(__file__).with_name("bpf") / "include"
TIMEOUT_S = 20.0
# Limits of the process: seconds of a CPU, bytes of memory, and bytes of files that it may write.
_MOST = {
    resource.RLIMIT_CPU: 15,
    resource.RLIMIT_AS: 4 * 2**30,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_FSIZE: 0,
}
MAX_SOURCE_BYTES = 2**20
# Arguments of clang, beside the include folders.
FLAGS = (
    *("-x", "c", "-O2", "-g", "-Wall", "-Wno-unused", "-fno-jump-tables", "-target", "bpf", "-mcpu=v2"),
    *("-ffreestanding", "-nostdlibinc"),
)
_SYSTEM = tuple(map(Path, ("/usr", "/lib", "/lib64", "/etc/alternatives")))
# Debian has a name for each version, and possibly no plain one.
_NEWEST, _OLDEST = 30, 10
_FORBIDDEN = (*(call for call in seccomp.FORBIDDEN if call != "execve"), "socket")
# clang's error messages: FILE:LINE:COLUMN: error: MESSAGE.
_SAID = re.compile(r"(?P<where>[^:\n]+:\d+):\d+: (?:fatal )?error: (?P<what>.*)")


class CompileError(Exception):
    """The source cannot be compiled; the message has FILE:LINE and clang's text, a line for each error."""


def find_clang() -> str | None:
    """Return the path of clang, of any version; None if it is not installed."""
    names = ["clang", *(f"clang-{version}" for version in range(_NEWEST, _OLDEST, -1))]
    return next((path for name in names if (path := shutil.which(name))), None)


@lru_cache(maxsize=1)
def compiler_digest() -> bytes:
    """Return a digest of the flags and headers, which differ between versions of this package."""
    made = sha256("\0".join(FLAGS).encode())
    for path in sorted(HEADERS.iterdir()):
        made.update(sha256(path.name.encode()).digest() + sha256(path.read_bytes()).digest())
    return made.digest()


def compile_flow_program(source: bytes, path: Path) -> bytes:
    """Compile a flow program in C; return the object. It blocks, for some 0.1 s.

    Args:
        source: The program.
        path: Its file, for messages; files in the same folder can be included.

    Raises:
        CompileError: If clang is missing, reports errors, or exceeds its limits.
    """
    clang = find_clang()
    if clang is None:
        raise CompileError(
            f"{path}: there is no clang on this machine, which compiles it; on Debian: apt-get install clang. "
            "Or compile it elsewhere, and name the object instead: object: FILE.o"
        )
    if len(source) > MAX_SOURCE_BYTES:
        raise CompileError(f"{path}: more than {MAX_SOURCE_BYTES} bytes")
    named = f'# 1 "{path}"\n'.encode() + source
    try:
        done = subprocess.run(
            [*python(MODULE), clang, str(path.parent)],
            input=named,
            capture_output=True,
            timeout=TIMEOUT_S,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise CompileError(f"{path}: clang does not end within {TIMEOUT_S:g} s") from exc
    except OSError as exc:
        raise CompileError(f"{path}: clang cannot be run: {(exc.strerror or str(exc)).lower()}") from exc
    if done.returncode != 0:
        raise CompileError(_told(path, done.returncode, done.stderr.decode("utf-8", "replace")))
    return done.stdout


def _told(path: Path, code: int, said: str) -> str:
    errors = [f"{found['where']}: {found['what']}" for found in _SAID.finditer(said)]
    if errors:
        return "\n".join(errors)
    lines = said.strip().splitlines()
    ending = f"it was ended by signal {-code}" if code < 0 else f"it ends with {code}"
    return f"{path}: clang fails: {lines[-1] if lines else ending}"


def command(clang: str, folder: str) -> list[str]:
    """Return the command that compiles standard input."""
    return [
        *(clang, *FLAGS),
        # Include folders: clang's own (stdint.h), this package's, and the source's.
        *("-I", str(HEADERS), "-I", folder),
        *("-fno-color-diagnostics", "-fno-caret-diagnostics", "-c", "-", "-o", "-"),
    ]


def main() -> None:
    """Drop privileges, and execute clang."""
    clang, folder = sys.argv[1:]
    for kind, most in _MOST.items():
        resource.setrlimit(kind, (most, most))
    confine(())
    system = (*_SYSTEM, Path(clang).resolve().parent)
    limit_files((*system, HEADERS, Path(folder)), (), (), system)
    seccomp.forbid(_FORBIDDEN)
    os.execv(clang, command(clang, folder))


if __name__ == "__main__":
    main()
