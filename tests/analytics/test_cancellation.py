from spectrum.analytics.cancellation import Cancellation


def test_running_questions_are_interrupted():
    told = []
    cancellation = Cancellation()
    with cancellation.interrupting(lambda: told.append("now")):
        assert told == []
        cancellation.set()
    assert told == ["now"] and cancellation.is_set


def test_later_questions_are_interrupted_at_once():
    told = []
    cancellation = Cancellation()
    cancellation.set()
    with cancellation.interrupting(lambda: told.append("now")):
        assert told == ["now"]


def test_nothing_is_interrupted_after_the_end():
    told = []
    cancellation = Cancellation()
    with cancellation.interrupting(lambda: told.append("now")):
        pass
    cancellation.set()
    assert told == []
