"""The daemon's own messages, on standard error, in the same form for supervisor and workers."""

import asyncio
import contextlib
import json
import logging
import os
import queue
import select
import stat
import threading
import time
from datetime import UTC, datetime

from spectrum.kernel import signals

# Workers get it in the environment, as they log before they can receive messages.
LEVEL_VARIABLE = "SPECTRUM_LOG_LEVEL"
FORMAT_VARIABLE = "SPECTRUM_LOG_FORMAT"

log = logging.getLogger(__name__)

# Messages that wait for a stopped terminal, or a full pipe.
MAX_WAITING_MESSAGES = 1000
FULL_PAUSE_S = 0.05
FLUSH_S = 2.0


def _timestamp(record: logging.LogRecord) -> str:
    """Return the time of a message in the form of session records (RFC 3339, UTC)."""
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class _TextFormatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return _timestamp(record)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "Timestamp": _timestamp(record),
            "Level": record.levelname.lower(),
            "Message": record.getMessage(),
        }
        if record.exc_info:
            line["Exception"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"))


class StderrHandler(logging.Handler):
    """Writes messages to standard error without ever blocking.

    If a write could block (a terminal, which Ctrl-S stops, or a full pipe) a thread does it. Messages beyond its queue
    are lost; their number is logged instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self._queue: queue.Queue[str | threading.Event | None] = queue.Queue(MAX_WAITING_MESSAGES)
        self._lost = 0
        self._is_file = stat.S_ISREG(os.fstat(2).st_mode)
        self._poll = select.poll()
        self._poll.register(2, select.POLLOUT)
        # Started with the first message, so that a worker's seccomp filter applies to the thread, too.
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, or queue it."""
        try:
            message = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if not self._queue.unfinished_tasks and not self._may_block(message):
            self._write(message)
            return
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self._lost += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_queued, name="message writer", daemon=True)
            with signals.all_held():  # signals belong to the main thread, also while it blocks them
                self._thread.start()

    def _may_block(self, message: str) -> bool:
        # A pipe that is writable takes PIPE_BUF bytes at once (pipe(7)); a terminal guarantees no number.
        takes_all = len(message) * 4 < select.PIPE_BUF and not os.isatty(2)
        return not self._is_file and not (takes_all and self._poll.poll(0))

    def _write_queued(self) -> None:
        while (message := self._queue.get()) is not None:
            if isinstance(message, threading.Event):
                self._queue.task_done()
                message.set()
                continue
            lost, self._lost = self._lost, 0
            if lost:
                record = logging.LogRecord(
                    __name__, logging.WARNING, "", 0, "%d messages were lost here", (lost,), None
                )
                message = f"{message}\n{self.format(record)}"
            self._write(message)
            self._queue.task_done()

    @staticmethod
    def _write(message: str) -> None:
        data = f"{message}\n".encode(errors="backslashreplace")
        while data:
            try:
                data = data[os.write(2, data) :]
            except BlockingIOError:  # another process that shares it has made it non-blocking
                time.sleep(FULL_PAUSE_S)
            except OSError:
                return  # there is no reader

    def flush(self) -> None:
        """Wait until the queue is written, for two seconds at most."""
        if self._thread is None:
            return
        written = threading.Event()
        try:
            self._queue.put(written, timeout=FLUSH_S)
        except queue.Full:
            return
        written.wait(FLUSH_S)

    def close(self) -> None:
        """Write the queue, and end the thread."""
        self.flush()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        super().close()


def configure_logging(as_json: bool, level: str) -> None:
    """Send the daemon's own messages to standard error, as JSON objects or text, one per line."""
    handler = StderrHandler()
    handler.setFormatter(_JsonFormatter() if as_json else _TextFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def configure_child_logging() -> None:
    """Log in the supervisor's form."""
    configure_logging(os.environ.get(FORMAT_VARIABLE) == "json", os.environ.get(LEVEL_VARIABLE, "INFO"))


def log_spare_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Log each signal that is received and ignored."""
    for number in signals.SPARE:
        loop.add_signal_handler(number, log.warning, "%s has no meaning here: ignored", signals.name(number))


class FaultLog:
    """Reports internal errors inside the engine's callbacks, at most once a second.

    Args:
        message: The effect of a fault on the client.
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


class RareWarning:
    """A warning that any datagram may cause, logged at a limited rate.

    Args:
        logger: The logger of the caller.
        interval_s: The least seconds between two of them.
    """

    def __init__(self, logger: logging.Logger, interval_s: float) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._said_at = -interval_s

    def say(self, message: str, *arguments: object) -> None:
        """Log the warning, unless it was logged just now."""
        now = time.monotonic()
        if now - self._said_at >= self._interval_s:
            self._said_at = now
            self._logger.warning(message, *arguments)
