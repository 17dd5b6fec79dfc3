import pytest
from pydantic import ValidationError

from spectrum.core.configuration.config import Config
from spectrum.core.ddos.overrides import Setting
from spectrum.core.ddos.section import Ddos


@pytest.mark.parametrize("given", [True, {}])
def test_it_is_one_line_to_switch_on(given):
    section = Config.model_validate({"ddos": given}).ddos
    assert (section.samples_per_second, section.store, section.user) == (8_000, None, None)
    assert (section.learning_s, section.expiry_s) == (86_400, 60)
    assert section.everywhere == Setting()


@pytest.mark.parametrize("given", [{}, {"ddos": False}, {"ddos": None}])
def test_it_is_off(given):
    assert Config.model_validate(given).ddos is None


def test_what_holds_everywhere():
    section = Ddos.model_validate({"sensitivity_level": "low", "action": "log", "user": "x", "store": "/x"})
    assert section.everywhere == Setting("low", "log")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"sensitivity_level": "high"}, "'default', 'medium', 'low' or 'eoff'"),
        ({"action": "drop"}, "'block', 'log' or 'ddos_dynamic'"),
        ({"samples_per_second": 100}, "greater than or equal to 2000"),
        ({"samples_per_second": 100_000}, "less than or equal to 16000"),
        ({"expire_after": 0}, "expire_after"),
        ({"learning_time": "soon"}, "duration"),
        ({"store": "x"}, "expected an absolute path"),
        ({"mode": "log"}, "mode"),
    ],
)
def test_invalid_requests(given, why):
    with pytest.raises(ValidationError, match=why):
        Ddos.model_validate(given)
