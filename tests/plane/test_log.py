import json
import os
import subprocess
import sys

import pytest

from spectrum.plane.log import FaultLog

SCRIPT = """
import logging
from spectrum.plane.log import configure_worker_logging
configure_worker_logging()
logging.getLogger("x").debug("not shown")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("x").exception("it %s", "failed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_messages(form):
    environment = os.environ | {"SPECTRUM_LOG_FORMAT": form, "SPECTRUM_LOG_LEVEL": "INFO"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    assert "not shown" not in done.stderr
    if form == "json":
        record = json.loads(done.stderr)
        assert (record["Level"], record["Message"]) == ("error", "it failed")
        assert "ZeroDivisionError" in record["Exception"]
    else:
        assert "ERROR it failed" in done.stderr


def test_faults_are_logged_once_a_second(caplog):
    faults = FaultLog("a session was refused")
    for _ in range(3):
        faults.report(RuntimeError("why"))
    assert caplog.text.count("a session was refused") == 1
    assert "RuntimeError: why" in caplog.text
