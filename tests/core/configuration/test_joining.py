import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.faults import Fault
from spectrum.core.configuration.joining import NotFitting, SetAside, fitting

ONE = App.model_validate({"protocol": "tcp/1", "origin_direct": ["tcp://192.0.2.1:1"]})
FILE = Config.model_validate({}).with_objects({"apps": {"file": ONE}})
NAMES = list("abcdefgh")
ORDER = [("apps", name) for name in NAMES]


def joined(pairs, must=(), blames="later"):
    """Join a file with apps, of which each pair does not go together; the fault is told of one of them."""

    def faults(config):
        found = []
        for one, other in pairs:
            if one in config.apps and other in config.apps:
                place = {"later": max(one, other), "file": "file"}[blames]
                found.append(Fault(("apps", place, "protocol"), f"{one} and {other}"))
        return found

    class Growing:
        def __init__(self, config):
            assert faults(config) == []
            self.config = config

        def faults(self, after, changed):
            assert set(after.apps) - set(self.config.apps) == set(changed["apps"])
            found = faults(after)
            self.config = self.config if found else after
            return found

    required = [("apps", name) for name in must]
    config, aside = fitting(FILE, {"apps": dict.fromkeys(NAMES, ONE)}, ORDER, required, faults, Growing)
    assert faults(config) == []
    assert next(iter(config.apps)) == "file"
    assert sorted([*config.apps, *(one.name for one in aside)]) == sorted(["file", *NAMES])
    return [one.name for one in aside], aside


def test_a_file_alone_is_not_checked_again():
    assert fitting(FILE, {}, (), (), lambda config: 1 / 0, lambda config: 1 / 0) == (FILE, [])


def test_all_fit():
    assert joined([]) == ([], [])


def test_the_one_that_is_blamed_is_set_aside():
    _, (aside,) = joined([("b", "e")])
    assert aside == SetAside("apps", "e", "b and e")
    assert joined([("b", "e"), ("e", "f")])[0] == ["e", "f"]


def test_what_is_served_already_stays():
    assert joined([("b", "e")], must="e")[0] == ["b"]
    with pytest.raises(NotFitting) as raised:
        joined([("b", "e")], must="be")
    assert raised.value.faults == [Fault(("apps", "e", "protocol"), "b and e")]


def test_where_the_file_is_blamed_the_one_is_found():
    _, (aside,) = joined([("b", "file")], blames="file")
    assert aside == SetAside("apps", "b", "apps.file.protocol: b and file")
    assert joined([("b", "file"), ("g", "file")], blames="file")[0] == ["b", "g"]


PAIRS = st.lists(st.tuples(st.sampled_from(["file", *NAMES]), st.sampled_from(NAMES)).filter(lambda p: p[0] != p[1]))


@given(PAIRS, st.sampled_from(["later", "file"]))
def test_no_one_is_set_aside_without_need(pairs, blames):
    """Each that is set aside does not go with the file, or with another one that there is."""
    for name in joined(pairs, blames=blames)[0]:
        assert any(name in pair for pair in pairs)
