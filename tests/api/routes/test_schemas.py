import pytest

from spectrum.api.kinds.access_rules import ACCESS_RULES
from spectrum.api.kinds.apps import APPS
from spectrum.api.kinds.lists import LISTS
from spectrum.api.kinds.load_balancers import LOAD_BALANCERS
from spectrum.api.kinds.monitor_groups import MONITOR_GROUPS
from spectrum.api.kinds.monitors import MONITORS
from spectrum.api.kinds.pools import POOLS
from spectrum.api.routes.schemas import body_schema, gives, gives_list, resolved, takes, takes_part
from tests.api.routes.calls import POOL, app

ID = "0" * 32
BODIES = [
    (APPS, app(origin_port=22, timeouts={"connect": "5s"})),
    (MONITORS, {"type": "tcp", "port": 22, "interval": 60}),
    (POOLS, POOL | {"monitor": ID}),
    (LOAD_BALANCERS, {"name": "lb.example.com", "default_pools": [ID], "fallback_pool": ID}),
    (ACCESS_RULES, {"mode": "block", "configuration": {"target": "ip", "value": "192.0.2.1"}}),
    (LISTS, {"kind": "ip", "name": "banned"}),
    (MONITOR_GROUPS, {"description": "", "members": [{"monitor_id": ID}]}),
]


@pytest.mark.parametrize(("kind", "body"), BODIES, ids=lambda one: getattr(one, "section", ""))
def test_the_schema_takes_what_the_api_takes(kind, body, jsonschema):
    schema = body_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(body, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({} if schema["required"] else {"colour": 1}, schema)
    assert "$ref" not in str(schema)
    assert resolved(takes(kind))["requestBody"]["content"]["application/json"]["schema"] == schema
    part = resolved(takes_part(kind))["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate({}, part)


@pytest.mark.parametrize("kind", [APPS, ACCESS_RULES])
def test_the_schema_of_an_answer_has_its_stamps(kind):
    one = resolved(gives(kind))[200]["content"]["application/json"]["schema"]["properties"]["result"]
    assert {"id", "created_on", "modified_on"} <= set(one["required"])
    many = resolved(gives_list(kind))[200]["content"]["application/json"]["schema"]["properties"]["result"]
    assert many == {"type": "array", "items": one}
