from dataclasses import replace

import msgspec
import pytest

from spectrum.core.ddos.judging import Action, Judgement
from spectrum.core.ddos.overrides import Ruling
from spectrum.core.ddos.packets import NO_APP
from spectrum.core.ddos.predicates import Conjunction, Predicate
from spectrum.core.ddos.rule_memory import decode_rule, encode_rule
from tests.core.ddos.test_slots import flood_rule

WHAT = Conjunction((Predicate("payload[:8]", "is", (2**64 - 1,)), Predicate("options", "not in", (1, 2))))
RULE = replace(
    flood_rule(WHAT, Action.SOURCE_LIMIT, 4.0),
    ruling=Ruling("low", "ddos_dynamic", "ours", "0" * 32),
    judged=Judgement(Action.BLOCK, why="x"),
    app=1,
    apps=frozenset({NO_APP, 0, 1}),
    quiet_since=7.5,
    times=3,
)
NAMES = {0: "a", 1: "b", NO_APP: ""}


def test_a_rule_comes_back_with_the_numbers_that_apps_have_now():
    memory = encode_rule(RULE, NAMES.__getitem__)
    assert decode_rule(memory, {"a": 0, "b": 1}) == RULE
    assert decode_rule(memory, {"b": 5}) == replace(RULE, app=5, apps=frozenset({NO_APP, 5}))
    assert decode_rule(memory, {}).app == NO_APP


def test_what_another_version_wrote():
    with pytest.raises(ValueError, match="there is no managed rule"):
        decode_rule(encode_rule(replace(RULE, managed=replace(RULE.managed, known_id="x")), NAMES.__getitem__), {})
    with pytest.raises(msgspec.DecodeError):
        decode_rule(b"\xc1", {})
