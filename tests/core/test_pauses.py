import pytest

from spectrum.control.configuration.loader import load_text
from spectrum.core.features import compile_snapshot
from spectrum.core.limits.rules import group_of
from spectrum.core.pauses import Pause, PausedApps, pause_rules
from spectrum.core.records.reasons import Reason

BODY = "{protocol: tcp/PORT, origin_direct: ['tcp://192.0.2.1:22']}"
PAUSE = Pause(0.0, 0)


def snapshot(**ports):
    apps = ", ".join(f"{name}: {BODY.replace('PORT', str(port))}" for name, port in ports.items())
    return compile_snapshot(load_text(f"apps: {{{apps}}}", "f"), 1)


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_paused_app_has_room_for_nobody(is_paused):
    rules = pause_rules(is_paused, group_of("x", "tcp"))
    assert [(rule.limit, rule.reason) for rule in rules] == ([(0, Reason.APP_PAUSED)] if is_paused else [])


def test_an_app_that_stays_as_it_is_is_the_same_object():
    paused, plain = PausedApps(), snapshot(x=1, y=2)
    assert paused.mark(plain, {}) is plain
    first = paused.mark(plain, {"x": PAUSE, "gone": PAUSE})
    assert [app.paused for app in first.apps] == [True, False]
    assert first.apps[1] is plain.apps[1]
    again = paused.mark(first, {"x": PAUSE})  # as it was served
    compiled = paused.mark(plain, {"x": PAUSE})  # as it is compiled from the same file
    assert again.apps[0] is compiled.apps[0] is first.apps[0]
    resumed = paused.mark(compiled, {})
    assert resumed.apps[0] is plain.apps[0]
    assert paused.mark(plain, {}) is plain


def test_another_app_of_the_name():
    paused = PausedApps()
    paused.mark(snapshot(x=1), {"x": PAUSE})
    other = paused.mark(snapshot(x=2), {"x": PAUSE})
    assert (other.apps[0].first_port, other.apps[0].paused) == (2, True)
    paused.mark(snapshot(y=2), {"x": PAUSE})  # it leaves the file, and comes back
    assert paused.mark(snapshot(x=3), {"x": PAUSE}).apps[0].paused
