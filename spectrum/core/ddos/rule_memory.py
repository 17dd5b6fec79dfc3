"""Rules of detection as bytes, which outlive the detector."""

from collections.abc import Callable, Mapping

import msgspec

from spectrum.core.ddos.detector import FloodRule
from spectrum.core.ddos.judging import Judgement
from spectrum.core.ddos.managed import BY_ID
from spectrum.core.ddos.overrides import Ruling
from spectrum.core.ddos.packets import NO_APP
from spectrum.core.ddos.predicates import Conjunction


class _Memory(msgspec.Struct, frozen=True, kw_only=True):
    """A rule; the managed rule is stored by id, apps by name, as numbers change."""

    number: int
    what: Conjunction
    judgement: Judgement
    managed_id: str
    ruling: Ruling
    judged: Judgement
    app: str
    excess: float
    normal: float
    began: float
    hits: float
    quiet_since: float | None
    times: int
    apps: tuple[str, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[_Memory] = msgspec.msgpack.Decoder(_Memory)
_SAME = (
    "number",
    "what",
    "judgement",
    "ruling",
    "judged",
    "excess",
    "normal",
    "began",
    "hits",
    "quiet_since",
    "times",
)


def encode_rule(rule: FloodRule, name_of: Callable[[int], str]) -> bytes:
    """Return a rule as bytes.

    Args:
        rule: The rule.
        name_of: Returns the name of an app; empty for none.
    """
    same = {name: getattr(rule, name) for name in _SAME}
    apps = tuple(sorted({name_of(app) for app in rule.apps}))
    return _encoder.encode(_Memory(managed_id=rule.managed.id, app=name_of(rule.app), apps=apps, **same))


def decode_rule(memory: bytes, numbers: Mapping[str, int]) -> FloodRule:
    """Return the rule of some bytes.

    Args:
        memory: The bytes of `encode_rule`.
        numbers: The numbers of apps by name.

    Raises:
        ValueError: If they are of a version with other rules.
    """
    one = _decoder.decode(memory)
    managed = BY_ID.get(one.managed_id)
    if managed is None:
        raise ValueError(f"there is no managed rule {one.managed_id}")
    same = {name: getattr(one, name) for name in _SAME}
    apps = frozenset(numbers.get(name, NO_APP) for name in one.apps)
    return FloodRule(managed=managed, app=numbers.get(one.app, NO_APP), apps=apps, **same)
