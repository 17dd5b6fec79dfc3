"""scripts/demo, which `make run` starts: it serves, says what to type next, and writes lines for people."""

import os
import re
import subprocess

import pytest

from tests.engine.harness import eventually
from tests.packages.conftest import ROOT
from tests.packages.test_wheels import answer

PORT = 7000


@pytest.mark.skipif(not (ROOT / ".venv/bin/spectrum").exists(), reason="`make setup` has not been run here")
def test_demo(tmp_path):
    printed = tmp_path / "printed"
    with printed.open("wb") as stream:
        # Where its control socket goes: nobody else may write there.
        environment = os.environ | {"RUNTIME_DIRECTORY": str(tmp_path)}
        demo = subprocess.Popen([ROOT / "scripts/demo"], stdout=stream, stderr=subprocess.STDOUT, env=environment)
        try:
            eventually(lambda: b"you are 127.0.0.1:" in answer(PORT), 60)
        finally:
            demo.terminate()
            assert demo.wait(60) == 0
    text = printed.read_text()
    assert "\n  nc 127.0.0.1 7000 " in text
    assert "\n  spectrum explain --app hello " in text
    assert re.search(
        r"Z disconnect 200 client_closed app=hello client=127\.0\.0\.1:\d+ edge=127\.0\.0\.1:7000 "
        r"origin=127\.0\.0\.1:9000 ",
        text,
    )
    assert max(map(len, text[: text.index("Ctrl-C")].splitlines())) <= 80
