from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.records import refusals
from spectrum.core.records.refusals import MAX_CLIENTS, MAX_COUNTED, RefusalKind, RefusalSums
from tests.core.records.test_events import EVENT

KIND = RefusalKind("ssh", 50, "drop")


def record(kind, client):
    return msgspec.structs.replace(EVENT, Application=kind.app, AccessRule=kind.rule, ClientIP=client.hex())


def add(sums, kind, client):
    return sums.add(kind, client, lambda: record(kind, client))


def told(events):
    return [(event.ClientIP, event.ClientPort, event.Sessions, event.Clients) for event in events]


def test_the_first_is_reported_at_once_and_others_together():
    sums = RefusalSums()
    assert add(sums, KIND, b"a") == record(KIND, b"a")
    assert [add(sums, KIND, b"a") for _ in range(9)] == [None] * 9
    assert told(sums.take()) == [("61", 0, 9, msgspec.UNSET)]
    assert add(sums, KIND, b"a") is None  # it goes on
    assert sums.take() == [record(KIND, b"a")]  # one is told as it is
    assert sums.take() == []
    assert add(sums, KIND, b"a") is not None  # it was over


def test_many_clients_are_reported_by_app_and_reason():
    sums, other = RefusalSums(), RefusalKind("ssh", 44, "")
    at_once = [add(sums, KIND, b"%d" % number) for number in range(MAX_CLIENTS + 3 * MAX_COUNTED)]
    assert sum(event is not None for event in at_once) == MAX_CLIENTS
    assert add(sums, other, b"a") is not None  # another reason is not held up
    assert told(sums.take()) == [("", 0, 3 * MAX_COUNTED, MAX_COUNTED)]
    add(sums, KIND, b"0")
    assert told(sums.take()) == []
    assert sums._kinds == {}


def test_memory_is_bounded_over_all_apps(monkeypatch):
    monkeypatch.setattr(refusals, "MAX_SUMS", 10)
    sums = RefusalSums()
    for app in range(20):
        add(sums, RefusalKind(f"app{app}", 50, ""), b"a")
    assert len(sums.take()) == 10  # of those that have no sum of their own
    sums.take()
    assert (sums._size, sums._kinds) == (0, {})


@given(st.lists(st.none() | st.tuples(st.sampled_from("xy"), st.sampled_from([b"a", b"b", b"c"]))))
def test_none_is_lost(steps):
    sums, given_, found = RefusalSums(), Counter(), Counter()
    for step in [*steps, None]:
        if step is None:
            events = sums.take()
        else:
            kind = RefusalKind(step[0], 50, "")
            given_[step[0], step[1].hex()] += 1
            events = [event for event in [add(sums, kind, step[1])] if event is not None]
        for event in events:
            found[event.Application, event.ClientIP] += event.Sessions or 1
    assert found == given_


def test_several_at_once():
    sums = RefusalSums()
    assert sums.add(KIND, b"a", lambda: record(KIND, b"a"), 3) == record(KIND, b"a")
    assert [event.Sessions for event in sums.take()] == [2]
    assert sums.add(KIND, b"a", lambda: record(KIND, b"a"), 3) is None
    assert [event.Sessions for event in sums.take()] == [3]
