"""Limits of questions to the store of analytics: a time budget per caller, few questions at once, and an end with the
client's disconnect.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from spectrum.analytics.cancellation import Cancellation
from spectrum.analytics.store import AnalyticsError, AnalyticsStore, QuestionTooLarge
from spectrum.api.caller import Caller
from spectrum.api.envelope import INTERNAL_ERROR, ApiError
from spectrum.api.rates import TOO_MANY
from spectrum.core.analytics.question import Question, QuestionFault, ResultTable
from spectrum.tasks import Tasks, in_thread

# Budget of a token: seconds of questions, and the window in seconds.
BUDGET_S, PER_S = 150.0, 300.0
# Deadline of a question.
MAX_S = 10.0
AT_ONCE = 2
# Waiting questions: of all callers, and of one caller.
MAX_WAITING, MAX_WAITING_OF_ONE = 64, 32
# Tokens with a remembered budget.
MAX_CALLERS = 10_000
OFF, TOO_LARGE, BAD_QUESTION = 10404, 10506, 1002
# nginx's status for a client that disconnected; no client reads it.
GONE = 499


class AskedService(Protocol):
    """The service that has the store."""

    @property
    def is_on(self) -> bool:
        """Whether the file enables analytics."""
        ...

    @property
    def store(self) -> AnalyticsStore | None:
        """The store; None where analytics is off, or the store is not available now."""
        ...

    @property
    def why(self) -> str:
        """Why there is no store."""
        ...


@dataclass(slots=True)
class _Spent:
    """The seconds that a token has used since a time."""

    since: float
    seconds: float = 0.0


class QueryBudget:
    """Counts the time of each token's questions, in windows that begin with the first one.

    Args:
        budget_s: The budget in seconds...
        per_s: ...of a window of this length.
    """

    def __init__(self, budget_s: float = BUDGET_S, per_s: float = PER_S) -> None:
        self._budget_s = budget_s
        self._per_s = per_s
        self._spent: dict[str, _Spent] = {}

    def left(self, token: str, now: float) -> float:
        """Return the seconds that a token has left.

        Raises:
            ApiError: If it has none: 429.
        """
        spent = self._window(token, now)
        left = self._budget_s - spent.seconds
        if left > 0:
            return left
        wait_s = max(1, round(spent.since + self._per_s - now))
        message = (
            f"Questions of this token have taken {spent.seconds:.0f} seconds, and may take {self._budget_s:g}"
            f" in {self._per_s:g} seconds: please wait {wait_s} seconds, or ask for shorter times"
        )
        raise ApiError(429, TOO_MANY, message, headers={"retry-after": str(wait_s)})

    def spend(self, token: str, seconds: float, now: float) -> None:
        """Subtract the time of a question."""
        self._window(token, now).seconds += seconds

    def _window(self, token: str, now: float) -> _Spent:
        spent = self._spent.pop(token, None)
        if spent is None or not 0 <= now - spent.since < self._per_s:
            spent = _Spent(now)
        self._spent[token] = spent
        while len(self._spent) > MAX_CALLERS:
            del self._spent[next(iter(self._spent))]
        return spent


class Asking:
    """Asks the store.

    Args:
        service: The service that has it.

    Attributes:
        service: The same.
        budget: The budget of tokens; local callers have no limit.
    """

    def __init__(self, service: AskedService) -> None:
        self.service = service
        self.budget = QueryBudget()
        # Open questions by caller, running ones included.
        self._waiting: Counter[str] = Counter()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tasks = Tasks()

    async def ask(self, caller: Caller, question: Question, left: Callable[[], Awaitable[None]]) -> ResultTable:
        """Return the answer to a question.

        Args:
            caller: The caller.
            question: The question.
            left: Returns when the client disconnects; the question is then cancelled.

        Raises:
            ApiError: If there is no store, the question is invalid or too large, or the caller has to wait.
        """
        token = "" if caller.is_local else caller.author.id
        self._check_room(token)
        cancellation = Cancellation()

        async def watch() -> None:
            await left()
            cancellation.set()

        watching = self._tasks.start(watch(), "watch for the client of a question to leave")
        self._waiting[token] += 1
        try:
            async with self._free:
                return await self._asked(token, question, cancellation)
        finally:
            self._waiting[token] -= 1
            if not self._waiting[token]:
                del self._waiting[token]
            watching.cancel()

    def _check_room(self, token: str) -> None:
        """Raise `ApiError` if there are too many questions, of the caller or altogether."""
        if token:
            self.budget.left(token, time.monotonic())
        own, all_of_them = self._waiting[token], self._waiting.total()
        if own >= MAX_WAITING_OF_ONE or all_of_them >= MAX_WAITING:
            which = f"{own} questions of this caller" if own >= MAX_WAITING_OF_ONE else f"{all_of_them} questions"
            raise ApiError(503, INTERNAL_ERROR, f"{which} wait already", headers={"retry-after": "2"})

    def left_of(self, caller: Caller) -> int:
        """Return the seconds of questions that a caller has left."""
        if caller.is_local:
            return round(BUDGET_S)
        try:
            return round(self.budget.left(caller.author.id, time.monotonic()))
        except ApiError:
            return 0

    async def _asked(self, token: str, question: Question, cancellation: Cancellation) -> ResultTable:
        began = time.monotonic()
        timeout_s = min(MAX_S, self.budget.left(token, began)) if token else MAX_S
        store = self._store()
        if cancellation.is_set:
            raise ApiError(GONE, INTERNAL_ERROR, "The client has left")
        try:
            return await in_thread(store.ask, question, timeout_s, cancellation)
        except QuestionFault as exc:
            raise ApiError(400, BAD_QUESTION, f"{exc.part}: {exc}", f"/{exc.part}") from exc
        except QuestionTooLarge as exc:
            if cancellation.is_set:
                raise ApiError(GONE, INTERNAL_ERROR, "The client has left") from exc
            message = f"{exc}: ask for a shorter time, or for fewer groups"
            raise ApiError(400, TOO_LARGE, message) from exc
        except AnalyticsError as exc:
            raise ApiError(503, INTERNAL_ERROR, f"The store of analytics cannot answer: {exc}") from exc
        finally:
            if token:
                now = time.monotonic()
                self.budget.spend(token, now - began, now)

    def _store(self) -> AnalyticsStore:
        service = self.service
        if not service.is_on:
            raise ApiError(404, OFF, "Analytics is off: `analytics: true` in the file switches it on")
        if service.store is None:
            raise ApiError(503, INTERNAL_ERROR, f"The store of analytics cannot answer: {service.why}")
        return service.store
