import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.api.envelope import ApiError
from spectrum.api.kinds.monitors import MONITORS, wanted_name
from tests.api.kinds.references import Known, has, stored

REFS = Known()


def answer(body):
    return MONITORS.from_value(stored("monitors", "m", MONITORS.checked(body, REFS)), REFS)


@pytest.mark.parametrize(
    ("body", "of_type"),
    [
        ({}, {"method": "GET", "path": "/", "expected_codes": "200", "type": "http"}),
        ({"type": "tcp", "port": 22}, {"method": "connection_established", "path": "", "expected_codes": ""}),
        ({"type": "icmp_ping"}, {"method": "", "path": "", "expected_codes": ""}),
    ],
)
def test_an_answer_has_the_defaults_of_its_type(body, of_type):
    assert has(
        answer(body),
        {
            "interval": 60,
            "timeout": 5,
            "retries": 2,
            "consecutive_up": 0,
            "consecutive_down": 0,
            "follow_redirects": False,
            "allow_insecure": False,
            **of_type,
        },
    )


@pytest.mark.parametrize(
    "body",
    [
        # With every default that Terraform sends, whatever the type.
        {
            "type": "tcp",
            "port": 22,
            "method": "GET",
            "path": "/",
            "expected_codes": "",
            "expected_body": "",
            "description": "",
            "probe_zone": "",
            "allow_insecure": False,
            "follow_redirects": False,
            "interval": 60,
            "timeout": 5,
            "retries": 2,
            "consecutive_down": 0,
            "consecutive_up": 0,
        },
        {
            "type": "https",
            "description": "Login page.",
            "method": "HEAD",
            "path": "/health",
            "header": {"Host": ["a.example"], "X-App": ["b"]},
            "port": 8080,
            "timeout": 3,
            "retries": 0,
            "interval": 90,
            "expected_body": "alive",
            "expected_codes": "2xx",
            "follow_redirects": True,
            "allow_insecure": True,
        },
        {"type": "tcp", "port": 22, "expect": "SSH-2.0-", "proxy_protocol": "v1"},
    ],
)
def test_what_was_configured_is_answered(body):
    assert has(answer(body), body)
    assert MONITORS.checked(answer(body), REFS)["type"] == body["type"]


def test_durations_and_headers_of_the_file_have_the_form_of_the_api():
    value = {"interval": "1m30s", "timeout": "500ms", "header": {"Host": "a.example"}, "expected_codes": 200}
    told = MONITORS.from_value(stored("monitors", "web", value), REFS)
    assert has(told, {"interval": 90, "timeout": 0.5, "header": {"Host": ["a.example"]}, "expected_codes": "200"})


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"type": "gopher"}, "/type"),
        ({"interval": 0}, "/interval"),
        ({"expected_codes": "ok"}, "/expected_codes"),
        ({"probe_zone": "example.com"}, "/probe_zone"),
        ({"colour": 1}, "/colour"),
        ({"header": []}, "/header"),
        ({"path": "x"}, "/path"),
    ],
)
def test_each_fault_has_its_place(body, pointer):
    with pytest.raises(ApiError) as caught:
        MONITORS.checked(body, REFS)
    assert (caught.value.status, caught.value.code, caught.value.details[0].pointer) == (400, 1002, pointer)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({}, "http"),
        ({"type": "tcp"}, "tcp"),
        ({"description": "Login page, EU."}, "Login-page-EU"),
        ({"description": "ä"}, "http"),
    ],
)
def test_a_monitor_is_named_for_what_it_does(value, name):
    assert wanted_name(value) == name


BODIES = st.fixed_dictionaries(
    {"type": st.sampled_from(["http", "https"])},
    optional={
        "interval": st.integers(1, 3600),
        "timeout": st.integers(1, 10),
        "retries": st.integers(0, 10),
        "port": st.integers(0, 65535),
        "path": st.text("/ab", max_size=5).map("/".__add__),
        "expected_codes": st.sampled_from(["200", "2xx", "200,302", ""]),
        "header": st.dictionaries(st.sampled_from(["Host", "X-A"]), st.lists(st.text("ab."), min_size=1, max_size=2)),
        "description": st.text(max_size=5),
    },
)


@given(BODIES)
def test_value_and_body_are_the_same_thing(body):
    value = MONITORS.checked(body, REFS)
    assert has(answer(body), body)
    assert MONITORS.checked(MONITORS.to_body(value, REFS), REFS) == value
