import asyncio
import threading

import pytest

from spectrum.analytics.store import AnalyticsError, QuestionTooLarge
from spectrum.api.analytics.asking import AT_ONCE, MAX_S, MAX_WAITING, MAX_WAITING_OF_ONE, Asking, QueryBudget
from spectrum.api.caller import Caller
from spectrum.api.envelope import ApiError
from spectrum.core.analytics.question import Question, QuestionFault, ResultTable
from spectrum.store.audit import Author
from spectrum.store.tokens import StoredToken
from tests.api.analytics.kept import NoStore
from tests.engine.harness import eventually

QUESTION = Question("events", ("count",), (), 0, 1)
ANSWER = ResultTable((), [], {}, {}, {})
ROOT = Caller(Author("user", "0", "root"))
TOKEN, OTHER = (Caller(Author("token", one, "ci"), StoredToken(one, "ci", "", {}, 0.0, 0.0)) for one in "tu")


class Store:
    """Answers when it is told to; counts who waits."""

    def __init__(self):
        self.is_on, self.store, self.why = True, self, ""
        self.go = threading.Event()
        self.running = self.most = 0
        self.timeouts = []
        self.fault = None

    def ask(self, question, timeout_s, cancellation):
        self.running += 1
        self.most = max(self.most, self.running)
        self.timeouts.append(timeout_s)
        ended = threading.Event()
        try:
            with cancellation.interrupting(ended.set):
                while not self.go.wait(0.01):
                    if ended.is_set():
                        raise QuestionTooLarge("it was interrupted")
            if self.fault is not None:
                raise self.fault
            return ANSWER
        finally:
            self.running -= 1


@pytest.fixture
def store():
    made = Store()
    yield made
    made.go.set()


async def stays():
    await asyncio.Event().wait()


async def refused(asked):
    with pytest.raises(ApiError) as raised:
        await asked
    return raised.value


async def test_few_questions_are_asked_at_once(store):
    asking = Asking(store)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asking.ask(ROOT, QUESTION, stays)) for _ in range(5)]
        await asyncio.to_thread(eventually, lambda: store.running == AT_ONCE)
        store.go.set()
    assert [task.result() for task in tasks] == [ANSWER] * 5
    assert store.most == AT_ONCE
    assert store.timeouts == [MAX_S] * 5


async def test_too_many_that_wait_are_refused(store):
    asking = Asking(store)
    async with asyncio.TaskGroup() as group:
        for _ in range(MAX_WAITING_OF_ONE):
            group.create_task(asking.ask(TOKEN, QUESTION, stays))
        await asyncio.sleep(0)
        fault = await refused(asking.ask(TOKEN, QUESTION, stays))
        assert (fault.status, fault.headers["retry-after"]) == (503, "2")
        assert str(fault) == f"{MAX_WAITING_OF_ONE} questions of this caller wait already"
        for _ in range(MAX_WAITING - MAX_WAITING_OF_ONE):
            group.create_task(asking.ask(OTHER, QUESTION, stays))
        await asyncio.sleep(0)
        fault = await refused(asking.ask(ROOT, QUESTION, stays))
        assert (fault.status, str(fault)) == (503, f"{MAX_WAITING} questions wait already")
        store.go.set()


async def test_who_has_no_budget_left_does_not_wait(store):
    asking = Asking(store)
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(asking.ask(ROOT, QUESTION, stays))
        await asyncio.to_thread(eventually, lambda: store.running == AT_ONCE)
        asking.budget = QueryBudget(0.0, 300.0)
        async with asyncio.timeout(5):
            assert (await refused(asking.ask(TOKEN, QUESTION, stays))).status == 429
        store.go.set()


async def test_a_question_ends_when_its_client_leaves(store):
    asking = Asking(store)
    left = asyncio.Event()

    async def leaves():
        await left.wait()

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(refused(asking.ask(ROOT, QUESTION, leaves))) for _ in range(AT_ONCE + 1)]
        await asyncio.to_thread(eventually, lambda: store.running == AT_ONCE)
        left.set()
    assert [task.result().status for task in asked] == [499] * (AT_ONCE + 1)
    assert len(store.timeouts) == AT_ONCE  # the one that waited was never asked


async def test_a_token_has_a_budget(store):
    store.go.set()
    asking = Asking(store)
    asking.budget = QueryBudget(5.0, 300.0)
    await asking.ask(TOKEN, QUESTION, stays)
    assert 4.0 < store.timeouts[0] <= 5.0
    asking.budget.spend("t", 5.0, asyncio.get_running_loop().time())
    fault = await refused(asking.ask(TOKEN, QUESTION, stays))
    assert (fault.status, fault.code) == (429, 10429)
    assert 290 <= int(fault.headers["retry-after"]) <= 300
    await asking.ask(ROOT, QUESTION, stays)


def test_a_budget_begins_again():
    budget = QueryBudget(10.0, 100.0)
    budget.spend("a", 9.0, 0.0)
    assert budget.left("a", 50.0) == 1.0
    assert budget.left("b", 50.0) == 10.0
    budget.spend("a", 2.0, 50.0)
    with pytest.raises(ApiError, match="have taken 11 seconds, and may take 10 in 100 seconds: please wait 40 seconds"):
        budget.left("a", 60.0)
    assert budget.left("a", 100.0) == 10.0


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (QuestionFault("limit", "from 1 to 5"), 400, "limit: from 1 to 5"),
        (QuestionTooLarge("it took more than 10 s"), 400, "shorter time"),
        (AnalyticsError("disk full", "full"), 503, "disk full"),
    ],
)
async def test_faults_are_answered(store, fault, status, message):
    store.go.set()
    store.fault = fault
    answer = await refused(Asking(store).ask(ROOT, QUESTION, stays))
    assert answer.status == status
    assert message in str(answer)


async def test_without_a_store_it_says_why():
    fault = await refused(Asking(NoStore()).ask(ROOT, QUESTION, stays))
    assert fault.status == 404 and "analytics: true" in str(fault)
    fault = await refused(Asking(NoStore("the disk is full")).ask(ROOT, QUESTION, stays))
    assert fault.status == 503 and "the disk is full" in str(fault)
