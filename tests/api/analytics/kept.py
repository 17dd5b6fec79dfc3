"""A store of analytics with rows of tests, in place of the service's own: tables of DuckDB that take no records."""

from spectrum.analytics.store import AnalyticsError
from spectrum.core.analytics.answering import answer
from spectrum.core.analytics.dialects import DuckDb
from tests.core.analytics.rows import EVERYTHING


class KeptRows:
    """What the API sees of analytics, and the store itself.

    Attributes:
        fault: Raised in place of an answer.
        asked: The questions.
    """

    def __init__(self, connection, reach=EVERYTHING):
        self.is_on, self.store, self.why = True, self, ""
        self.fault = None
        self.asked = []
        self._connection = connection
        self._reach = reach

    def ask(self, question, timeout_s, cancellation):
        self.asked.append(question)
        if self.fault is not None:
            raise self.fault
        with self._connection.cursor() as cursor, cancellation.interrupting(cursor.interrupt):
            return answer(
                question, DuckDb(), self._reach, lambda one: cursor.execute(one.text, one.parameters).fetchall()
            )


class NoStore:
    """Analytics that is off, or not available."""

    def __init__(self, why=""):
        self.is_on, self.store, self.why = bool(why), None, why


UNREACHABLE = AnalyticsError("no route to host", "unreachable")
