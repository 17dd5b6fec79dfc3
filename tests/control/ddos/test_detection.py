import pytest

from spectrum.control.ddos.detection import KernelDetection
from spectrum.control.filter.node import NodeFilter
from spectrum.core.configuration.config import Config
from spectrum.core.ddos.sampling import FIRST_IDLE, FIRST_USED
from spectrum.kernel.pins import PinError
from spectrum.link.detector import DetectorRule
from spectrum.link.helper import SetDetection, SetDrops
from tests.control.ddos.parts import KernelsHelper, descriptors

FILTER = {"filter": {"interfaces": ["lo"], "guard": ["10.0.0.0/8"]}}
APPS = {"apps": {"x": {"protocol": "udp/7000", "origin_direct": ["udp://127.0.0.1:1"]}}}
ON = Config.model_validate({"ddos": {}, **FILTER, **APPS})
OFF = Config.model_validate({**FILTER, **APPS})
RULE = DetectorRule("udp-1", b"\0" * 3, [b"\1"], "UDP", 5, b"")


@pytest.fixture
def helper():
    return KernelsHelper()


@pytest.fixture
def kernel(helper):
    one = KernelDetection(helper, NodeFilter(helper))
    yield one
    one.close()


def test_it_is_on_with_places_and_sampling_and_off_again(helper, kernel):
    before = descriptors()
    kernel.sample(4, 0)
    assert not helper.asked and kernel.one_in == (4, 1)
    kernel.one_in = FIRST_IDLE, FIRST_USED
    kernel.apply(ON)
    first = helper.last(SetDetection)
    assert (first.idle_one_in, first.used_one_in, bool(first.served)) == (FIRST_IDLE, FIRST_USED, True)
    assert kernel.is_on and descriptors() == before + 1
    kernel.sample(2, 8)
    assert helper.last(SetDetection) == SetDetection(2, 8, first.served)
    kernel.apply(ON)
    assert descriptors() == before + 1
    kernel.write([RULE])
    assert helper.last(SetDrops).owner == "ddos"
    assert helper.last(SetDrops).drops.rules == {"udp-1": b"\0" * 3}
    kernel.apply(OFF)
    assert helper.last(SetDetection) == SetDetection(0, 0, b"")
    assert helper.last(SetDrops).drops.rules == {}
    assert not kernel.is_on and descriptors() == before


def test_what_a_daemon_before_has_left_is_ended_once(helper, kernel):
    kernel.apply(OFF)
    asked = list(helper.asked)
    assert SetDetection(0, 0, b"") in asked
    kernel.apply(OFF)
    assert helper.asked == asked, "a reload needs no helper for it"
    kernel.apply(ON)
    kernel.apply(OFF)
    assert helper.asked.count(SetDetection(0, 0, b"")) == 2


def test_without_a_filter_there_is_nothing_to_end(helper, kernel):
    kernel.apply(Config())
    assert helper.asked == []


def test_what_the_kernel_does_not_take(helper, kernel):
    ports = {f"x{n}": {**APPS["apps"]["x"], "protocol": f"udp/{n}0000-{n}9999"} for n in range(1, 6)}
    addresses = {"edge_ips": [f"10.0.0.{n}" for n in range(1, 3)]}
    many = {name: {**app, **addresses} for name, app in ports.items()}
    with pytest.raises(PinError, match="65,536 at most"):
        kernel.apply(Config.model_validate({"ddos": {}, **FILTER, "apps": many}))
    helper.refuses = "no"
    with pytest.raises(PinError, match="no"):
        kernel.apply(ON)
    assert not kernel.is_on
