import json
import logging
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from spectrum.log import FaultLog, RareWarning

SCRIPT = """
import logging
from spectrum.log import configure_child_logging
configure_child_logging()
logging.getLogger("x").debug("not shown")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("x").exception("it %s", "failed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_messages(form):
    environment = os.environ | {"TZ": "Asia/Tokyo", "SPECTRUM_LOG_FORMAT": form, "SPECTRUM_LOG_LEVEL": "INFO"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    assert "not shown" not in done.stderr
    if form == "json":
        record = json.loads(done.stderr)
        assert (record["Level"], record["Message"]) == ("error", "it failed")
        assert "ZeroDivisionError" in record["Exception"]
        said = record["Timestamp"]
    else:
        said, _, rest = done.stderr.partition(" ")
        assert rest.startswith("ERROR it failed")
    # As the records of sessions have it, whatever the local time is.
    assert abs((datetime.fromisoformat(said) - datetime.now(UTC)).total_seconds()) < 60
    assert re.fullmatch(r"\S+T[\d:]+\.\d{6}Z", said)


def test_faults_are_logged_once_a_second(caplog):
    faults = FaultLog("a session was refused")
    for _ in range(3):
        faults.report(RuntimeError("why"))
    assert caplog.text.count("a session was refused") == 1
    assert "RuntimeError: why" in caplog.text


BLOCKED = """
import logging
import os
import sys
from spectrum import log
log.FLUSH_S = 0.2
log.configure_logging(False, "INFO")
for number in range(3000):
    logging.getLogger("x").warning("message %d " + "x" * 200, number)
sys.stdout.write("nobody waited\\n")
sys.stdout.flush()
if sys.stdin.readline():
    for handler in logging.getLogger().handlers:
        handler.flush()
    logging.getLogger("x").warning("the last one")
"""


@pytest.mark.parametrize("is_read", [True, False])
def test_a_reader_that_hangs_delays_nothing(is_read):
    command = [sys.executable, "-c", BLOCKED]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "nobody waited\n"
        _, told = process.communicate("go on\n", timeout=20) if is_read else (process.stdin.close(), "")
        assert process.wait(20) == 0
    if is_read:
        lines = told.splitlines()
        assert " message 0 x" in lines[0]
        # Each is there, or counted where it is missing.
        lost = [int(number) for line in lines for number in re.findall(r"(\d+) messages were lost here", line)]
        assert lost
        assert len(lines) - len(lost) + sum(lost) == 3001
        assert " the last one" in lines[-1]


def test_who_has_gone_is_not_told():
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"SPECTRUM_LOG_FORMAT": "text", "SPECTRUM_LOG_LEVEL": "INFO"}
    assert subprocess.run([sys.executable, "-c", SCRIPT], stderr=write, check=False, env=environment).returncode == 0
    os.close(write)


def test_a_rare_warning_is_reported_once_in_a_while(caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    warning = RareWarning(logging.getLogger("x"), 60)
    for _ in range(2):
        warning.say("of %s", "a flood")
        warning.say("of %s", "another")
        now[0] += 60
    assert caplog.messages == ["of a flood", "of a flood"]
