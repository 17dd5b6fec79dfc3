import json

import msgspec

from spectrum.api.live_events import AppFigures, AwayEvent, Traffic, rated

FIGURES = {"id": "1", "name": "ssh", "zone": "", "protocol": "tcp/22", "open": 3.0}


def sent(event):
    return json.loads(msgspec.json.encode(event))


def test_rates_are_of_sessions_bits_and_datagrams():
    told = sent(Traffic(open=2.0, **rated([0.0, 5.0, 1.5, 0.25, 1000.0, 2000.0, 4.0])))
    assert told == {
        "open": 2.0,
        "new": 3.5,
        "refused": 1.5,
        "failed": 0.25,
        "in": 8000,
        "out": 16000,
        "dropped": 4.0,
    }


def test_the_first_event_has_no_rates():
    assert set(rated(None).values()) == {None}


def test_an_app_has_the_keys_of_its_problem_only_with_one():
    assert not {"severity", "why", "facts"} & sent(AppFigures(**FIGURES, **rated(None))).keys()
    trouble = {"severity": "failed", "why": "app_failing", "facts": {"failed": 5}}
    assert sent(AppFigures(**FIGURES, **rated(None), **trouble)).items() >= trouble.items()


def test_a_daemon_that_does_not_answer():
    assert sent(AwayEvent("it is stopping")) == {"away": "it is stopping"}
