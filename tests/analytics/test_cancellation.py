from spectrum.analytics.cancellation import Cancellation


def test_whoever_can_interrupt_is_told():
    told = []
    cancellation = Cancellation()
    with cancellation.interrupting(lambda: told.append("now")):
        assert told == []
        cancellation.set()
    assert told == ["now"] and cancellation.is_set


def test_who_comes_later_is_told_at_once():
    told = []
    cancellation = Cancellation()
    cancellation.set()
    with cancellation.interrupting(lambda: told.append("now")):
        assert told == ["now"]


def test_nobody_is_told_when_it_is_over():
    told = []
    cancellation = Cancellation()
    with cancellation.interrupting(lambda: told.append("now")):
        pass
    cancellation.set()
    assert told == []
