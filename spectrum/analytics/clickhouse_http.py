"""ClickHouse's HTTP interface: statements, parameters, inserts, and its errors as ours. It blocks."""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from spectrum.analytics.cancellation import Cancellation
from spectrum.analytics.store import AnalyticsError, QuestionTooLarge
from spectrum.core.analytics.dialects import Statement, named

# Delays between attempts of requests that may be repeated.
_PAUSES_S = (0.2, 1.0)
_INSERT_TIMEOUT_S = 30.0
# Added to the server's own limit, so that it applies first.
_GRACE_S = 2.0
_MAX_MESSAGE = 500
# Its numbers: TIMEOUT_EXCEEDED, TOO_SLOW, MEMORY_LIMIT_EXCEEDED, TOO_MANY_ROWS..., QUERY_WAS_CANCELLED.
_TOO_LARGE = frozenset({"159", "160", "241", "158", "191", "307", "396", "394"})
# NOT_ENOUGH_SPACE, CANNOT_WRITE_TO_FILE_DESCRIPTOR, TOO_MANY_PARTS (it cannot merge as fast as it is written to).
_FULL = frozenset({"243", "75", "252"})
# A server that starts, or a proxy in front of one that does not answer.
_FOR_NOW = frozenset({502, 503, 504})


class ClickHouseHttp:
    """A server.

    Args:
        url: Of its HTTP interface.
        database: In which the tables are.
        user: Who asks.
        password: Theirs.
        sleep: Waits between attempts.
    """

    def __init__(
        self, url: str, database: str, user: str, password: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        found = urlsplit(url)
        self.url = url
        self.database = database
        self._host, self._port = found.hostname or "", found.port or (8443 if found.scheme == "https" else 8123)
        self._path = (found.path or "/").rstrip("/") + "/"
        self._tls = ssl.create_default_context() if found.scheme == "https" else None
        self._headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
        self._sleep = sleep

    def command(self, text: str, database: str | None = None, may_repeat: bool = True) -> None:
        """Execute a statement.

        Args:
            text: The statement.
            database: In which; None for that of the tables.
            may_repeat: It may be executed twice, and is sent again where an answer was lost.

        Raises:
            AnalyticsError: If that fails, or the outcome is unknown.
        """
        settings = {"database": self.database if database is None else database}
        pauses_s = _PAUSES_S if may_repeat else ()
        self._patiently(settings, text.encode(), _INSERT_TIMEOUT_S, pauses_s)

    def insert(self, text: str, data: bytes) -> None:
        """Insert data. When it returns, the server has it; where an answer was lost, it has it twice.

        Args:
            text: `INSERT INTO ... FORMAT JSONEachRow`.
            data: One JSON object per line.

        Raises:
            AnalyticsError: If that fails, or the outcome is unknown.
        """
        settings = {
            "database": self.database,
            "query": text,
            # The server batches inserts of nodes, and answers when they are written.
            "async_insert": "1",
            "wait_for_async_insert": "1",
            "date_time_input_format": "best_effort",
            "input_format_skip_unknown_fields": "0",
        }
        self._patiently(settings, data, _INSERT_TIMEOUT_S)

    def rows(self, statement: Statement, timeout_s: float, cancellation: Cancellation) -> list[tuple[Any, ...]]:
        """Return the rows of a question.

        Raises:
            QuestionTooLarge: If it takes longer, or more memory, than it may; or was cancelled.
            AnalyticsError: If it cannot be answered.
        """
        settings = {
            "database": self.database,
            "default_format": "JSONCompactEachRow",
            "query_id": str(uuid4()),
            "max_execution_time": f"{max(timeout_s, 0.001):.3f}",
            "timeout_overflow_mode": "throw",
            # Read-only, so that it ends when this end closes the connection.
            "readonly": "2",
            "cancel_http_readonly_queries_on_client_close": "1",
            # An error in the middle fails the whole answer.
            "wait_end_of_query": "1",
            "output_format_json_quote_64bit_integers": "0",
            "output_format_json_quote_denormals": "0",
            "do_not_merge_across_partitions_select_final": "1",
            "session_timezone": "UTC",
        }
        body = multipart({"query": statement.text, **named(statement.parameters)})
        answer = self._request(settings, body[0], timeout_s + _GRACE_S, body[1], cancellation)
        return [tuple(json.loads(line)) for line in answer.splitlines()]

    def _patiently(
        self, settings: Mapping[str, str], body: bytes, timeout_s: float, pauses_s: Sequence[float] = _PAUSES_S
    ) -> None:
        for pause_s in (*pauses_s, None):
            try:
                self._request(settings, body, timeout_s, "text/plain", Cancellation())
            except AnalyticsError as exc:
                if pause_s is None or exc.reason != "unreachable":
                    raise
                self._sleep(pause_s)
            else:
                return

    def _request(
        self, settings: Mapping[str, str], body: bytes, timeout_s: float, content: str, cancellation: Cancellation
    ) -> bytes:
        """Return the answer to a request."""
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._tls)
            if self._tls is not None
            else http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        )
        try:
            connection.connect()
            with cancellation.interrupting(lambda: _hang_up(connection)):
                connection.request(
                    "POST",
                    f"{self._path}?{urlencode(settings)}",
                    body,
                    {**self._headers, "Content-Type": content, "Connection": "close"},
                )
                answer = connection.getresponse()
                data = answer.read()
        except TimeoutError as exc:
            if "max_execution_time" in settings:
                raise QuestionTooLarge(f"no answer within {timeout_s:g} s") from exc
            raise AnalyticsError(f"{self.url}: no answer within {timeout_s:g} s", "unreachable") from exc
        except (OSError, http.client.HTTPException) as exc:
            if cancellation.is_set:
                raise QuestionTooLarge("it was cancelled") from exc
            raise AnalyticsError(f"{self.url}: {str(exc) or type(exc).__name__}", "unreachable") from exc
        finally:
            connection.close()
        if answer.status != 200:
            raise self._fault(answer.status, answer.headers.get("X-ClickHouse-Exception-Code", ""), data)
        return data

    def _fault(self, status: int, code: str, data: bytes) -> AnalyticsError:
        message = " ".join(data.decode(errors="replace").split())[:_MAX_MESSAGE]
        if code in _TOO_LARGE:
            return QuestionTooLarge(message)
        if status in _FOR_NOW:
            return AnalyticsError(f"{self.url}: status {status}: {message}", "unreachable")
        return AnalyticsError(f"{self.url}: {message or f'status {status}'}", "full" if code in _FULL else "other")


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """End a request that another thread waits for: closing a socket does not wake its reader."""
    if connection.sock is not None:
        try:
            connection.sock.shutdown(2)
        except OSError:
            pass  # The other end was first.


def multipart(fields: Mapping[str, str]) -> tuple[bytes, str]:
    """Return a form and its content type: parameters of a question may be longer than a URL."""
    boundary = uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return ("".join(parts) + f"--{boundary}--\r\n").encode(), f"multipart/form-data; boundary={boundary}"
