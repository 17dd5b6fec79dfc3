"""A process of its own gives up files: what it may open then."""

import subprocess
import sys

SCRIPT = """
import ctypes, os, sys
from pathlib import Path
from spectrum.kernel.landlock import limit_files

folder = Path(sys.argv[1])
for name in ("other", "readable", "writable", "own"):
    (folder / name).mkdir()
    (folder / name / "file").write_text("text")
kept = (folder / "other" / "file").open()
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
if not limit_files([folder / "readable", folder / "none"], [folder / "writable"], [folder / "own"]):
    print("no Landlock")
    sys.exit()

def done(work):
    try:
        work()
        return True
    except PermissionError:
        return False

def what(name):
    path = folder / name / "file"
    steps = path.read_text, lambda: path.write_text("x"), (folder / name / "new").mkdir, path.unlink
    return "".join(letter for letter, step in zip("rwmu", steps) if done(step))

print(*(what(name) or "-" for name in ("other", "readable", "writable", "own")), kept.read())
"""


def test_only_what_is_left_can_be_opened(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout in ("- r rw rwmu text\n", "no Landlock\n"), done.stderr
