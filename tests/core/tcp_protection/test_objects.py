import pytest
from pydantic import ValidationError

from spectrum.core.configuration.faults import faults_of
from spectrum.core.tcp_protection.objects import (
    MAX_EXPRESSION,
    TcpAllowed,
    TcpFilter,
    TcpPrefix,
    TcpProtection,
    TcpRule,
)

SYN = {"component": "syn_protection"}
FLOW = {"component": "tcp_flow_protection"}
# What is wrong with an object, and a part of the message.
WRONG = [
    (TcpRule, {**SYN}, "mode"),
    (TcpRule, {**SYN, "mode": "off"}, "expected monitoring or enabled or disabled"),
    (TcpRule, {**SYN, "mode": "enabled", "scope": "region"}, "name the region as place"),
    (TcpRule, {**SYN, "mode": "enabled", "place": "WEU"}, "a rule of scope global must not name a place"),
    (TcpRule, {**FLOW, "mode": "enabled", "mitigation_type": "challenge"}, "mitigation_type is for syn_protection"),
    (TcpFilter, {**FLOW, "mode": "enabled", "expression": "ip.ttl eq 3"}, "there is no field ip.ttl here"),
    (TcpFilter, {**FLOW, "mode": "enabled", "expression": "true" + " " * MAX_EXPRESSION}, "8,192"),
    (TcpPrefix, {"prefix": "192.0.2.1/24"}, "is not a prefix"),
    (TcpAllowed, {"prefix": "192.0.2.0/24", "enabled": 1}, "true or false"),
    (TcpProtection, {"enable": True}, "enable"),
]


@pytest.mark.parametrize(("model", "value", "part"), WRONG)
def test_faults(model, value, part):
    with pytest.raises(ValidationError) as found:
        model.model_validate(value)
    (fault,) = faults_of(found.value, model, ())
    assert part in f"{fault.path} {fault.message}"


def test_defaults():
    assert TcpProtection().enabled
    rule = TcpRule(component="syn_protection", mode="enabled")
    assert (rule.scope, rule.place, rule.rate_sensitivity, rule.burst_sensitivity) == (
        "global",
        "global",
        "medium",
        "medium",
    )
    assert not TcpPrefix.model_validate({"prefix": "192.0.2.0/24"}).excluded
