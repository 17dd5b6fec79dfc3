"""The daemon's own messages, on standard error: the same form in supervisor and workers."""

import asyncio
import json
import logging
import os
import sys
import time

from spectrum.kernel import signals

# The supervisor tells its workers through the environment, as they are started before they can be sent anything.
LEVEL_VARIABLE = "SPECTRUM_LOG_LEVEL"
FORMAT_VARIABLE = "SPECTRUM_LOG_FORMAT"


log = logging.getLogger(__name__)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        made = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "Timestamp": f"{made}.{int(record.msecs):03d}Z",
            "Level": record.levelname.lower(),
            "Message": record.getMessage(),
        }
        if record.exc_info:
            line["Exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(as_json: bool, level: str) -> None:
    """Send the daemon's own messages to standard error, as JSON objects or text, one per line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def configure_worker_logging() -> None:
    """Do as the supervisor does."""
    configure_logging(os.environ.get(FORMAT_VARIABLE) == "json", os.environ.get(LEVEL_VARIABLE, "INFO"))


def log_spare_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Say of each signal that comes without a meaning that it is ignored."""
    for number in signals.SPARE:
        loop.add_signal_handler(number, log.warning, "%s has no meaning here: ignored", signals.name(number))


class FaultLog:
    """Reports faults of ours inside the engine's callbacks, at most once a second.

    Args:
        message: What a fault means to whoever was served.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._logged_at = 0.0

    def report(self, error: BaseException) -> None:
        """Log a fault."""
        now = time.monotonic()
        if now - self._logged_at >= 1:
            self._logged_at = now
            log.error(self._message, exc_info=error)
